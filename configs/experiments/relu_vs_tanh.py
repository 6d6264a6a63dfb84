"""Figure 1: how much faster a network learns with rectified linear units than with tanh.

    python -m src.experiment --config=configs/experiments/relu_vs_tanh.py

The paper trains "a four-layer convolutional neural network" on CIFAR-10 until a training error of
25%, without regularization of any kind, with learning rates "chosen independently to make training
as fast as possible". It doesn't name the network; here it is cuda-convnet's 19pct, three
convolutional layers and a dense one, without weight decay, on whole images. Each rate is tried for
two epochs, and that with the lowest training loss over the second is taken: with tanh, which needs
forty, a lower one gets there sooner, but is not ahead before the twentieth. The training error is
the mean over the last whole epoch, looked at every quarter of an epoch: it comes down to 25% half
an epoch or so after that of single steps does.
"""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, in short."""
    without_regularization = {
        "optimizer.weight_decay": 0.0,
        "optimizer.weight_decays.fc4": 0.0,
        "schedule.name": "constant",
    }
    relu = changed(cifar.get_config("19pct", dataset), without_regularization)
    return comparison(
        "With ReLUs it reaches a training error of 25% six times faster than with tanh "
        "(section 3.1, Figure 1)",
        {
            "relu": changed(relu, {"duration": "12 epochs"}),
            "tanh": changed(relu, {"duration": "60 epochs", "model.activation": "tanh"}),
        },
        reference="relu",
        seeds=(0,),
        target_training_error=0.25,
        published={"relu": 6.0, "tanh": 36.0},
        rates={
            "relu": (0.0005, 0.001, 0.002, 0.004, 0.008),
            "tanh": (0.001, 0.002, 0.004, 0.008, 0.016, 0.032),
        },
    )
