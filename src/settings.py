"""Whether a configuration makes sense, before anything is started."""

import math
from fractions import Fraction

from ml_collections import ConfigDict

from src.errors import UserError
from src.training.periods import parse_duration
from src.training.validation import validate_config


def check_experiment(config: ConfigDict) -> None:
    """As `check`, of a comparison of recipes: see `configs.experiments.comparison`."""
    for name in config.order:
        if name not in list(config.variants):
            raise UserError(f"config.order: {name!r} is none of {', '.join(config.variants)}")
    for seed in config.seeds:
        if not (type(seed) is int and 0 <= seed < 2**32):
            raise UserError(f"config.seeds: {seed!r} is no whole number of at most 32 bits")
    for name, rates in config.rates.items():
        for rate in rates:
            if not (type(rate) in (int, float) and 0 < rate < math.inf):
                raise UserError(f"config.rates.{name}: {rate!r} is no positive number")
    several = {"order": config.order, "seeds": config.seeds}
    several |= {f"rates.{name}": [f"{r:g}" for r in rates] for name, rates in config.rates.items()}
    for field, values in several.items():
        if not values:
            raise UserError(f"config.{field}: it is empty")
        if len(set(values)) < len(values):
            raise UserError(f"config.{field}: {', '.join(map(str, values))} has one twice")
    for name, reference in config.reference.items():
        if reference not in config.variants or reference == name:
            raise UserError(f"config.reference.{name}: {reference!r} is no other variant")
    parse_duration("config.search", config.search, Fraction(1))
    if not 0 <= config.until_training_error < 1:
        raise UserError(
            f"config.until_training_error: {config.until_training_error} is no fraction of errors"
        )
    for recipe in config.variants.values():
        validate_config(recipe)
