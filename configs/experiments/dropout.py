"""Section 4.2: what dropout is good for.

    python -m src.experiment --config=configs/experiments/dropout.py

The paper says that without it the network "exhibits substantial overfitting". Here a dense layer
of 512 units is put before the last of cuda-convnet's 19pct, without weight decay or augmentation,
and trained on CIFAR-10 for 40 epochs with and without dropout in it. The training error of the one
with it is that of the steps, which drop units. That dropout "roughly doubles the number of
iterations required to converge" is not compared: both have the same.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison
from src.models.architecture import DenseSpec
from src.models.cifar import PCT19


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, in short."""
    without = cifar.get_config("19pct", dataset)
    dense = {"fc4": DenseSpec(512), "fc5": DenseSpec()}
    without.model = ConfigDict(dataclasses.asdict(dataclasses.replace(PCT19, dense=dense)))
    without = changed(
        without,
        {
            "duration": "40 epochs",
            "schedule.boundaries": ("32 epochs", "36 epochs"),
            "optimizer.weight_decay": 0.0,
            "optimizer.weight_decays.fc4": 0.0,
        },
    )
    return comparison(
        "Without dropout the network overfits substantially (section 4.2)",
        {"without": without, "dropout": changed(without, {"model.dropout": 0.5})},
        reference="without",
        seeds=(0, 1, 2),
    )
