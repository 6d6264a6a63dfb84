"""A plan for GPUs that are not there; `python -m src.plan` is the command."""

import os

# Before JAX is imported: XLA warns of every batch that is too large, which is being looked for.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # JAX's own default
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
