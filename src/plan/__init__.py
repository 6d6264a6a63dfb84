"""A plan for GPUs that are not there; `python -m src.plan` is the command."""

import os

# Before JAX is imported: XLA warns of every batch that is too large, which is being looked for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
