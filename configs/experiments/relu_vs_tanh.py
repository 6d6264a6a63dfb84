"""Figure 1: how much faster a network learns with rectified linear units than with tanh.

    python -m src.experiment --config=configs/experiments/relu_vs_tanh.py

The paper trains "a four-layer convolutional neural network" on CIFAR-10 until a training error of
25%. It uses no regularization of any kind, and learning rates "chosen independently to make
training as fast as possible". The paper does not name the network. Here it is cuda-convnet's 19pct
(three convolutional layers and a dense one), without weight decay, on uncropped images.

A search trains with each learning rate for two epochs, and chooses the one with the lowest training
loss over the second epoch. This favors high rates: with tanh, a lower one reaches the target in
fewer epochs, but is not ahead before the twentieth epoch.

The training error is the mean over the last whole epoch, computed every quarter of an epoch. It
reaches 25% about half an epoch later than the error of single steps.

Result (one seed): 6.0 epochs with ReLU, 46.2 with tanh: 7.7 times as many; 7.0 times with tanh's
learning rate at 0.008.
Time: 49 minutes and the search, on two cores of an AMD EPYC with --cpu_devices=4.

Digits cannot show the difference, so relu_vs_tanh.py:digits is a smoke test. With He's initial
weights, an input scale of 1/64 and the best of several learning rates, both networks reach 2%
training error on them after some five to ten epochs, and seeds differ by more than activations.
"""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
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
            "ReLU": changed(relu, {"duration": "12 epochs"}),
            "tanh": changed(relu, {"duration": "60 epochs", "model.activation": "tanh"}),
        },
        reference={"tanh": "ReLU"},
        seeds=(0,),
        target_training_error=0.25,
        published={"ReLU": 6.0, "tanh": 36.0},
        rates={
            "ReLU": (0.0005, 0.001, 0.002, 0.004, 0.008),
            "tanh": (0.001, 0.002, 0.004, 0.008, 0.016, 0.032),
        },
    )
