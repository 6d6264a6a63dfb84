"""The paper's AlexNet, as Krizhevsky, Sutskever and Hinton (2012) describe it in their text.

    python -m src.main --config=configs/alexnet.py:imagenet2012

DATASET, after the colon, is `imagenet2012`, `imagenette`, `cifar10`, any other TFDS name,
`synthetic` (random images), or `folder:PATH` with train/CLASS/* and val/CLASS/* (or test/CLASS/*),
or with CLASS/* alone. The default, `digits`, is too small for this recipe and takes that of
configs/small.py instead.

Expected on ImageNet: the paper reports a top-1 error of 40.7% and a top-5 error of 18.2% on the
validation set of 2012 with ten views, after 90 epochs, which took five to six days on two GTX 580.
This recipe has not been run to its end on ImageNet by this project.
"""

import dataclasses
import sys

from ml_collections import ConfigDict

from src.models.architecture import Architecture
from src.models.presets import PAPER
from src.runs.defaults import default_config


def get_config(dataset: str = "digits") -> ConfigDict:
    """The recipe for a data set."""
    if dataset == "digits":
        from configs import small

        print(
            "configs/alexnet.py: 1,437 digits are too few for the paper's recipe; "
            "taking that of configs/small.py",
            file=sys.stderr,
        )
        return small.get_config(dataset)
    return paper(dataset)


def paper(dataset: str, network: Architecture = PAPER) -> ConfigDict:
    """The paper's recipe; `src/runs/defaults.py` has its fields, each with a comment."""
    config = default_config()
    config.data.dataset = dataset
    config.model = ConfigDict(dataclasses.asdict(network))
    return config
