"""The configuration of an experiment: recipes that differ in one thing, and what to measure."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..training.periods import parse_duration
from ..training.validation import validate_config


def validate_experiment(config: ConfigDict) -> None:  # noqa: C901 (a flat list of checks)
    """Raises UserError unless the experiment (see `comparison`) can be run."""
    for name in config.order:
        if name not in list(config.variants):
            raise UserError(f"config.order: {name!r} is not one of {', '.join(config.variants)}")
    for seed in config.seeds:
        if not (type(seed) is int and 0 <= seed < 2**32):
            raise UserError(f"config.seeds: {seed!r} is not an integer from 0 to 2^32 - 1")
    for name, rates in config.rates.items():
        for rate in rates:
            if not (type(rate) in (int, float) and 0 < rate < math.inf):
                raise UserError(f"config.rates.{name}: {rate!r} is not a positive number")
    lists = {"order": config.order, "seeds": config.seeds}
    lists |= {f"rates.{name}": [f"{r:g}" for r in rates] for name, rates in config.rates.items()}
    for field, values in lists.items():
        if not values:
            raise UserError(f"config.{field}: must not be empty")
        if len(set(values)) < len(values):
            raise UserError(f"config.{field}: {', '.join(map(str, values))} has a value twice")
    for name, reference in config.reference.items():
        if reference not in config.variants or reference == name:
            raise UserError(f"config.reference.{name}: {reference!r} is not another variant")
    parse_duration("config.search", config.search, Fraction(1))
    if not 0 <= config.target_training_error < 1:
        raise UserError(
            f"config.target_training_error: {config.target_training_error} is not at least 0 and "
            "below 1"
        )
    for recipe in config.variants.values():
        validate_config(recipe)


def comparison(  # noqa: PLR0913 (read as a table by configs/experiments)
    hypothesis: str,
    variants: Mapping[str, ConfigDict],
    *,
    seeds: tuple[int, ...],
    reference: str | Mapping[str, str] = "",
    published: Mapping[str, float] | None = None,
    target_training_error: float = 0.0,
    rates: Mapping[str, tuple[float, ...]] | None = None,
    search: str = "2 epochs",
    average: bool = False,
) -> ConfigDict:
    """The configuration of an experiment for `python -m src.experiment`.

    On the data set `digits` it is a short version, which takes seconds.

    Args:
      hypothesis: the result that the paper, or another source, states, in a sentence.
      variants: recipes by name.
      seeds: each variant is trained with each seed.
      reference: the variant that the others are compared with, or one for each variant, by name;
        empty for none.
      published: the published values of variants, by name: a fraction of errors, or epochs.
      target_training_error: if not 0, the experiment measures the epochs until the training error,
        over the last whole epoch, is at most this; else the final test error.
      rates: learning rates by variant. The one with the lowest final training loss is used.
      search: how long each learning rate is tried, such as "2 epochs".
      average: whether to measure the average of each variant's networks too.
    """
    variants = dict(variants)
    if any(recipe.data.dataset == "digits" for recipe in variants.values()):
        variants = {name: _shortened(recipe) for name, recipe in variants.items()}
        seeds, search = seeds[: 2 if average else 1], "4 steps"
    config = ConfigDict()
    config.hypothesis = hypothesis
    config.variants = ConfigDict(variants, sort_keys=False)
    config.order = tuple(variants)
    config.seeds = seeds
    if isinstance(reference, str):
        reference = {name: reference for name in variants if reference not in ("", name)}
    config.reference = ConfigDict(dict(reference))
    config.published = ConfigDict(dict(published or {}))
    config.target_training_error = target_training_error
    config.rates = ConfigDict(dict(rates or {}))
    config.search = search
    config.average = average
    return config


def changed(recipe: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy of a recipe with some fields changed, named as on the command line."""
    copy = recipe.copy_and_resolve_references()
    copy.update_from_flattened_dict(changes)
    return copy


def _shortened(recipe: ConfigDict) -> ConfigDict:
    return changed(
        recipe, {"duration": "8 steps", "evaluate_every": "4 steps", "log_every": 2, "views": 1}
    )
