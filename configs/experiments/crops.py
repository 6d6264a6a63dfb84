"""The recipe that several experiments on CIFAR-10 share: 19pct on crops, for 40 epochs."""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed


def crops(dataset: str) -> ConfigDict:
    """cuda-convnet's 19pct-translations in 40 epochs, the learning rate ÷ 10 after 32 and 36."""
    shorter = {"duration": "40 epochs", "schedule.boundaries": ("32 epochs", "36 epochs")}
    return changed(cifar.get_config("19pct-translations", dataset), shorter)
