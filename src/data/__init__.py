"""From original images to batches on the device."""

import os

# Lets TensorFlow, where it is needed, log nothing but errors. It announces its use of oneDNN at
# every level, and nothing here computes with it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
