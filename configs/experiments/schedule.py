"""Section 5: dividing the rate by ten when the validation error stops improving.

    python -m src.experiment --config=configs/experiments/schedule.py

The paper's heuristic, applied three times during its training, against keeping the rate; with
cuda-convnet's 19pct on crops of CIFAR-10's images, in 100 epochs, with a validation every second:
in fewer the error does not stop improving. CIFAR-10 has no validation images: 5,000 of the training
images serve as such. Errors are on those, as the paper's are on the validation images that its
rates followed.
"""

from ml_collections import ConfigDict

from configs.experiments.crops import crops
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, in short."""
    constant = changed(crops(dataset), {"schedule.name": "constant", "duration": "100 epochs"})
    if dataset == "cifar10":
        held_out = {"data.train_split": "train[:90%]", "data.eval_split": "train[90%:]"}
        constant = changed(constant, held_out)
    return comparison(
        "Dividing the rate by ten when the validation error stops improving lowers the error (the "
        "heuristic of section 5)",
        {"constant": constant, "plateau": changed(constant, {"schedule.name": "plateau"})},
        reference="constant",
        seeds=(0, 1),
    )
