"""A quick experiment: python -m src.experiment --config=tests/support/tiny_experiment.py."""

from ml_collections import ConfigDict

from src.experiment.spec import comparison
from tests.support import tiny


def get_config() -> ConfigDict:
    relu, tanh = tiny.get_config(), tiny.get_config()
    tanh.model.activation = "tanh"
    return comparison("ReLUs learn faster", {"relu": relu, "tanh": tanh}, seeds=(0,))
