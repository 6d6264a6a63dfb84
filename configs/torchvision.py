"""The single column that torchvision calls AlexNet, after "One weird trick" (Krizhevsky, 2014).

    python -m src.main --config=configs/torchvision.py[:DATASET]

Every layer sees all maps, there is no response normalization, and conv1 pads by 2 on all sides. Two
towers that exchange everything compute exactly this, and can still be on two devices. Initial
weights are drawn as in PyTorch, biases start at 0, and dropout scales in training. Pixels minus
their mean are divided by 58, about their standard deviation; torchvision divides each color by its
own. The training is that of configs/alexnet.py.

torchvision's own weights have a top-1 error of 43.5% and a top-5 error of 20.9% on ImageNet's
validation set, one view. This recipe has not been run to its end on ImageNet by this project.
"""

from ml_collections import ConfigDict

from configs.alexnet import paper
from src.models.presets import TORCHVISION


def get_config(dataset: str = "imagenet2012") -> ConfigDict:
    """The recipe for a data set."""
    return paper(dataset, TORCHVISION)
