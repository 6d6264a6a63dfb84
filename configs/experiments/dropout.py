"""Section 4.2: the effect of dropout.

    python -m src.experiment --config=configs/experiments/dropout.py

The paper says that without dropout its network "exhibits substantial overfitting". Here a dense
layer of 512 units is inserted before the last layer of cuda-convnet's 19pct. The network is trained
on CIFAR-10 for 40 epochs, without weight decay or augmentation, with and without dropout in that
layer. The training error with dropout is that of the steps, which drop units. Both variants take
the same number of epochs, so the experiment does not test that dropout "roughly doubles the number
of iterations required to converge".

Result (one seed): 20.77% with dropout, 24.53% without; the training errors are 8.01% and 0.01%.
Time: six runs of 29 minutes, on two cores of an AMD EPYC with --cpu_devices=4.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison
from src.models.architecture import DenseSpec
from src.models.cifar import PCT19


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
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
            # The form that the learning rates of these networks are for.
            "model.dropout_scaling": "training",
        },
    )
    return comparison(
        "Without dropout the network overfits substantially (section 4.2)",
        {"without": without, "dropout": changed(without, {"model.dropout": 0.5})},
        reference={"dropout": "without"},
        seeds=(0, 1, 2),
    )
