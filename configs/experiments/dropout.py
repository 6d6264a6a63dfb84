"""Section 4.2: the effect of dropout, in the paper's form and in the later one.

    python -m src.experiment --config=configs/experiments/dropout.py

The paper says that without dropout its network "exhibits substantial overfitting". Here a dense
layer of 512 units is inserted before the last layer of cuda-convnet's 19pct. The network is trained
on CIFAR-10 for 40 epochs, without weight decay or augmentation. That layer has no dropout, the
paper's form ("original": outputs are halved at test), or the later form ("inverted": kept outputs
are doubled in training). The training error is that of the training steps, which drop units.

For the layer behind dropout, a learning rate of the original form has the effect of a quarter of it
in the inverted form. So a search chooses the learning rate of each variant, from half to four times
0.001, that of cuda-convnet's networks.

Result (one seed, 0.001 for both, without a search): 20.77% with inverted dropout, 24.53% without;
the training errors are 8.01% and 0.01%. The original form and the searches have not been run.
Time: nine runs of 29 minutes, and 12 searches of 90 seconds (estimated), on two cores of an AMD
EPYC with --cpu_devices=4.
"""

import dataclasses

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison
from src.models.architecture import DenseSpec
from src.models.cifar import PCT19

RATES = (0.0005, 0.001, 0.002, 0.004)


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
    recipes = variants(dataset)
    return comparison(
        "Without dropout the network overfits substantially (section 4.2)",
        recipes,
        reference={"original": "without", "inverted": "without"},
        rates=dict.fromkeys(recipes, RATES),
        seeds=(0, 1, 2),
    )


def variants(dataset: str) -> dict[str, ConfigDict]:
    """The recipes without dropout and with each form of it."""
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
    forms = {"original": "test", "inverted": "training"}
    return {"without": without} | {
        name: changed(without, {"model.dropout": 0.5, "model.dropout_scaling": scaling})
        for name, scaling in forms.items()
    }
