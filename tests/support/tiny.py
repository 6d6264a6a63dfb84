"""A recipe that trains in seconds, for tests: python -m src.main --config=tests/support/tiny.py."""

from ml_collections import ConfigDict

from configs import small

MAPS = {"conv1": 8, "conv2": 16, "conv3": 24, "conv4": 24, "conv5": 16}
UNITS = {"fc6": 48, "fc7": 32}


def get_config(dataset: str = "digits") -> ConfigDict:
    config = small.get_config(dataset)
    for name, maps in MAPS.items():
        config.model.convs[name].maps = maps
    for name, units in UNITS.items():
        config.model.dense[name].units = units
    config.batch_size = 32
    config.duration = "24 steps"
    config.evaluate_every = "12 steps"
    config.checkpoint_every = "4 steps"
    config.log_every = 1
    config.schedule.name = "plateau"
    config.augment.color = "deviations"
    return config
