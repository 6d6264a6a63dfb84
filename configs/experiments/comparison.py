"""What an experiment is: recipes that differ in one thing, and what is measured of them."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def comparison(
    claim: str,
    variants: Mapping[str, ConfigDict],
    *,
    seeds: tuple[int, ...],
    reference: str | Mapping[str, str] = "",
    published: Mapping[str, float] | None = None,
    until_training_error: float = 0.0,
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
      until_training_error: if not 0, what is measured are the epochs until the training error,
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
    config.until_training_error = until_training_error
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
