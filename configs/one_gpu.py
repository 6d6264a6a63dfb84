"""The network on one GPU to which the paper compares: one tower, half of the maps (#145-half).

    python -m src.main --config=configs/one_gpu.py[:DATASET]

Exceptions: conv5 and the dense layers are as large as those of the two towers together, so that
both networks have about as many parameters. The paper (section 3.2) reports top-1 and top-5
errors that are 1.7 and 1.2 points higher than with two towers; the authors' log has 39.2% and 18.2%
on the test set of 2010 with ten views. This recipe has not been run to its end on ImageNet by this
project.
"""

from ml_collections import ConfigDict

from configs.alexnet import paper
from src.models.presets import ONE_GPU


def get_config(dataset: str = "imagenet2012") -> ConfigDict:
    """The recipe for a data set."""
    return paper(dataset, ONE_GPU)
