"""Caffe's other AlexNet, bvlc_reference_caffenet, with pooling before normalization.

    python -m src.main --config=configs/caffenet.py[:DATASET]

Otherwise it is configs/bvlc_alexnet.py with the paper's initial biases of 1.

Caffe's own weights have a top-1 error of 42.6% and a top-5 error of 19.6% on ImageNet's validation
set, one view. This recipe has not been run to its end on ImageNet by this project.
"""

from ml_collections import ConfigDict

from configs.bvlc_alexnet import caffe
from src.models.presets import CAFFENET


def get_config(dataset: str = "imagenet2012") -> ConfigDict:
    """The recipe for a data set."""
    return caffe(CAFFENET, dataset)
