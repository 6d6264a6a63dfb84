"""Caffe's AlexNet, bvlc_alexnet, which most people took for the paper's network from 2013 on.

    python -m src.main --config=configs/bvlc_alexnet.py[:DATASET]

What differs from configs/alexnet.py:

- crops of 227 × 227, and no padding of conv1;
- response normalization across the maps of both towers, with k = 1 and alpha ÷ 5, the size of the
  window;
- initial biases of 0.1 instead of 1, and other initial weights of fc6 and fc7;
- dropout that scales in training;
- no color noise; no weight decay on biases, whose learning rate is doubled;
- batches of 256, and the schedule of Caffe's solver.prototxt.

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
