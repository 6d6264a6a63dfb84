"""From original images to batches on the device."""

import os

# TensorFlow, which is imported only where needed, is to print nothing but errors. That it uses
# oneDNN it announces at any level of logging; nothing here computes with it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
