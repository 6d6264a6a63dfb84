"""Section 5: dividing the learning rate by ten when the validation error stops improving.

    python -m src.experiment --config=configs/experiments/schedule.py

The paper divided the learning rate three times during training. Here this is compared with a
constant learning rate. cuda-convnet's 19pct is trained on crops of CIFAR-10 for 100 epochs, with an
evaluation after every second epoch: in fewer epochs the error does not stop improving. CIFAR-10 has
no validation images, so 5,000 training images are held out. Errors are those of the held-out
images, which the learning rate follows, as in the paper.

Result: not run to its end yet.
Time: four runs of about 35 minutes (estimated), on two cores of an AMD EPYC with --cpu_devices=4.
"""

from ml_collections import ConfigDict

from configs.experiments.crops import crops
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
    constant = changed(crops(dataset), {"schedule.name": "constant", "duration": "100 epochs"})
    if dataset == "cifar10":
        held_out = {"data.train_split": "train[:90%]", "data.eval_split": "train[90%:]"}
        constant = changed(constant, held_out)
    return comparison(
        "Dividing the learning rate by ten when the validation error stops improving lowers the "
        "error (the heuristic of section 5)",
        {"constant": constant, "plateau": changed(constant, {"schedule.name": "plateau"})},
        reference={"plateau": "constant"},
        seeds=(0, 1),
    )
