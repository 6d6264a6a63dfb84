"""What an experiment is: recipes that differ in one thing, and what is measured of them."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..training.periods import parse_duration
from ..training.validation import validate_config


def validate_experiment(config: ConfigDict) -> None:
    """As `check`, of a comparison of recipes: see `spec.comparison`."""
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
    if not 0 <= config.target_training_error < 1:
        raise UserError(
            f"config.target_training_error: {config.target_training_error} is no fraction of errors"
        )
    for recipe in config.variants.values():
        validate_config(recipe)


def comparison(
    claim: str,
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
    """An experiment for `python -m src.experiment`; in short, for `digits`.

    Args:
      claim: what the paper, or another source, says comes out, in a sentence.
      variants: recipes by name.
      seeds: each variant is trained with each.
      reference: the variant that the others are compared with; or for each, by name, that which it
        is compared with; empty for none.
      published: what variants were published to reach, by name: a fraction of errors, or epochs.
      target_training_error: if not 0, what is measured are the epochs until the training error,
        over the last whole epoch, is this; else the test error in the end.
      rates: learning rates to choose from for a variant, by name, by the training loss that they
        come to.
      search: how long each rate is tried.
      average: whether to measure the average of each variant's networks too.
    """
    variants = dict(variants)
    if any(recipe.data.dataset == "digits" for recipe in variants.values()):
        variants = {name: _in_short(recipe) for name, recipe in variants.items()}
        seeds, search = seeds[: 2 if average else 1], "4 steps"
    config = ConfigDict()
    config.claim = claim
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
    """A copy of a recipe with other values in some fields, named as on the command line."""
    copy = recipe.copy_and_resolve_references()
    copy.update_from_flattened_dict(changes)
    return copy


def _in_short(recipe: ConfigDict) -> ConfigDict:
    return changed(
        recipe, {"duration": "8 steps", "evaluate_every": "4 steps", "log_every": 2, "views": 1}
    )
