"""What a training run would need and do on GPUs that are not there: a modelled bound."""
