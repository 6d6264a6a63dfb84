"""Plans memory and speed for GPUs that are not present; `python -m src.plan` is the command."""

import os

# Set before JAX is imported: XLA warns about each batch that is too large; the search tries some.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # JAX's own default
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
