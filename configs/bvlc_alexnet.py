"""Caffe's AlexNet, bvlc_alexnet: the network that most took for the paper's from 2013 on.

    python -m src.main --config=configs/bvlc_alexnet.py[:DATASET]

It differs from the paper's in crops of 227 × 227 without any padding; in response normalization,
whose windows reach from one group's maps into the other's, with k = 1 and alpha divided by the size
of the window; in biases of 0.1, and in the initial weights of fc6 and fc7. Colors are left as they
are. The schedule is that of its solver.prototxt.

Caffe's own weights have a top-1 error of 42.9% and a top-5 error of 19.8% on ImageNet's validation
set, one view. This recipe has not been run to its end on ImageNet by this project.
"""

from ml_collections import ConfigDict

from configs.alexnet import paper
from src.models.architecture import Architecture
from src.models.presets import BVLC


def get_config(dataset: str = "imagenet2012") -> ConfigDict:
    """The recipe for a data set."""
    return caffe(BVLC, dataset)


def caffe(network: Architecture, dataset: str) -> ConfigDict:
    """Caffe's recipe for one of its two networks."""
    config = paper(dataset, network)
    config.batch_size = 256
    config.duration = "450000 steps"
    config.augment.color = "none"
    config.optimizer.decay_biases = False
    config.optimizer.bias_lr_multiplier = 2.0
    config.schedule.name = "steps"
    config.schedule.boundaries = tuple(f"{steps} steps" for steps in range(100000, 450000, 100000))
    return config
