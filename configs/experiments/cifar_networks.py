"""cuda-convnet's networks for CIFAR-10, to their published errors.

    python -m src.experiment --config=configs/experiments/cifar_networks.py

The networks conv-local-13pct and conv-local-11pct are left out, because each takes several hours on
two cores: `python -m src.main --config=configs/cifar.py:conv-local-11pct`.

Result (one seed): 25.78%, 18.21%, 17.75% and 14.43%, each within a point of the published error.
Time: 6, 105, 96 and 93 minutes on two cores of an AMD EPYC with --cpu_devices=4.
"""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import comparison

PUBLISHED = {"80sec": 0.26, "19pct": 0.19, "18pct": 0.18, "19pct-translations": 0.142}


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
    return comparison(
        "The networks reach, within one point, the test errors that cuda-convnet's files and their "
        "names state",
        {name: cifar.get_config(name, dataset) for name in PUBLISHED},
        seeds=(0,),
        published=PUBLISHED,
    )
