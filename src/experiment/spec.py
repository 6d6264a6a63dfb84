"""The definition of an experiment: the recipes that it compares, and its runs."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ..errors import UserError
from ..training.periods import parse_duration
from ..training.validation import validate_config

SEARCH_SEED = 1000  # learning rates are not chosen on the runs that are then measured
SHORT = {"duration": "8 steps", "evaluate_every": "4 steps", "log_every": 2, "views": 1}

SearchResults = Mapping[str, Mapping[float, float]]
"""By variant and learning rate, the final training loss; infinite if the run diverged."""


class Run(NamedTuple):
    """One training run."""

    variant: str
    label: str  # "rate 0.001" or "seed 0"
    recipe: ConfigDict
    workdir: Path


def comparison(hypothesis: str, variants: Mapping[str, ConfigDict], **options: Any) -> ConfigDict:
    """The configuration of an experiment; on `digits`, of a smoke test that takes seconds.

    Args:
      hypothesis: the result that the paper, or another source, states, in a sentence.
      variants: recipes by name.
      options: values for the other fields, which are explained below.
    """
    config = ConfigDict()
    config.hypothesis = hypothesis
    config.order = tuple(variants)  # the variants to train
    config.seeds = (0,)  # each variant is trained with each seed
    config.reference = ConfigDict()  # by variant, the variant that it is compared with
    config.published = ConfigDict()  # by variant, the published error (a fraction) or epochs
    # If positive, the experiment measures the epochs until the training error, a mean over the last
    # epoch, is at most this. If 0, it measures the final test error.
    config.target_training_error = 0.0
    config.rates = ConfigDict()  # by variant, learning rates; the lowest training loss decides
    config.search = "2 epochs"  # how long to train with each of these rates
    config.average = False  # whether to also measure the average of each variant's networks
    # Whether it only shows that the experiment runs: too short to test the hypothesis.
    config.smoke = any(recipe.data.dataset == "digits" for recipe in variants.values())
    if unknown := options.keys() - config.keys():
        raise TypeError(f"comparison() has no option {', '.join(unknown)}")
    config.update(options)
    if config.smoke:
        variants = {name: changed(recipe, SHORT) for name, recipe in variants.items()}
        config.seeds = config.seeds[: 2 if config.average else 1]
        config.rates = ConfigDict({name: rates[:2] for name, rates in config.rates.items()})
        config.search = "4 steps"
    config.variants = ConfigDict(dict(variants), sort_keys=False)
    return config


def changed(recipe: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy of a recipe with some fields changed, named as on the command line."""
    copy = recipe.copy_and_resolve_references()
    copy.update_from_flattened_dict(changes)
    return copy


def validate_experiment(config: ConfigDict) -> None:
    """Raises UserError unless the experiment can be run."""
    variants = list(config.variants)
    unknown = [name for name in config.order if name not in variants]
    _check_list("order", config.order, unknown, f"one of {', '.join(variants)}")
    invalid = [seed for seed in config.seeds if type(seed) is not int or not 0 <= seed < 2**32]
    _check_list("seeds", config.seeds, invalid, "an integer from 0 to 2^32 - 1")
    for field in ("rates", "published", "reference"):
        for name in set(config[field]) - set(variants):
            raise UserError(f"config.{field}: {name!r} is not one of {', '.join(variants)}")
    for name, rates in config.rates.items():
        invalid = [r for r in rates if type(r) not in (int, float) or not 0 < r < math.inf]
        _check_list(f"rates.{name}", rates, invalid, "a positive number")
    for name, reference in config.reference.items():
        if reference not in variants or reference == name:
            raise UserError(f"config.reference.{name}: {reference!r} is not another variant")
    parse_duration("config.search", config.search, Fraction(1))
    if not 0 <= (target := config.target_training_error) < 1:
        raise UserError(f"config.target_training_error: {target} is not at least 0 and below 1")
    for recipe in config.variants.values():
        validate_config(recipe)


def _check_list(field: str, values: Sequence[Any], invalid: Sequence[Any], allowed: str) -> None:
    if invalid:
        raise UserError(f"config.{field}: {invalid[0]!r} is not {allowed}")
    if not values:
        raise UserError(f"config.{field}: must not be empty")
    names = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(set(names)) < len(names):
        raise UserError(f"config.{field}: {', '.join(names)} has a value twice")


def search_runs(config: ConfigDict, workdir: Path) -> list[Run]:
    """The runs that search for learning rates."""
    common = {"seed": SEARCH_SEED, "duration": config.search, "evaluate_every": config.search}
    runs = []
    for variant in config.order:
        for rate in config.rates.get(variant, ()):
            recipe = changed(config.variants[variant], {**common, "schedule.learning_rate": rate})
            label = f"rate {rate:g}"
            runs.append(Run(variant, label, recipe, workdir / slug(variant) / slug(label)))
    return runs


def measured_runs(config: ConfigDict, workdir: Path, lr_search_results: SearchResults) -> list[Run]:
    """The runs that are measured, with the best learning rate where a search has results."""
    runs = []
    for seed in config.seeds:
        for variant in config.order:
            changes = {"seed": seed}
            if losses := lr_search_results.get(variant):
                changes["schedule.learning_rate"] = min(losses, key=losses.__getitem__)
            recipe, directory = changed(config.variants[variant], changes), f"seed{seed}"
            runs.append(Run(variant, f"seed {seed}", recipe, workdir / slug(variant) / directory))
    return runs


def slug(name: str) -> str:
    """A name as part of a path."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in name).split())
