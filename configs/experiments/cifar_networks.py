"""cuda-convnet's networks for CIFAR-10, to their published errors.

    python -m src.experiment --config=configs/experiments/cifar_networks.py

conv-local-13pct and conv-local-11pct take several hours each on two cores: `python -m src.main
--config=configs/cifar.py:conv-local-11pct`.
"""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import comparison

PUBLISHED = {"80sec": 0.26, "19pct": 0.19, "18pct": 0.18, "19pct-translations": 0.142}


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, in short."""
    return comparison(
        "The networks reach, within one point, the test errors that cuda-convnet's files and their "
        "names state",
        {name: cifar.get_config(name, dataset) for name in PUBLISHED},
        seeds=(0,),
        published=PUBLISHED,
    )
