"""Puts the results of one experiment together that are from several machines or days."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from src import outcome
from src.errors import UserError

MEASURED_BY = ("until_training_error", "search")
OF_VARIANTS = {"published", "recipe", "tried", "runs", "average"}


def read(path: Path) -> dict[str, Any]:
    """What `outcome.collect` has found elsewhere.

    Raises:
      UserError: the file can't be read, or is another.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"--join={path}: {error.strerror}") from None
    except ValueError:
        found = None
    if not _is_outcome(found):
        raise UserError(f"--join={path}: no results.json as this version of experiments writes it")
    return found


def _is_outcome(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() >= {"claim", *MEASURED_BY}
        and isinstance(found.get("variants"), dict)
        and all(
            isinstance(variant, dict) and variant.keys() >= OF_VARIANTS and variant["runs"]
            for variant in found["variants"].values()
        )
    )


def searched(parts: Iterable[Mapping[str, Any]]) -> dict[str, dict[float, float]]:
    """By variant and learning rate, the training loss that a search elsewhere came to."""
    return {
        name: {
            float(rate): math.inf if loss is None else loss
            for rate, loss in variant["tried"].items()
        }
        for part in parts
        for name, variant in part["variants"].items()
        if variant["tried"]
    }


def check(config: ConfigDict, parts: Mapping[Path, Mapping[str, Any]]) -> None:
    """Sees whether results from elsewhere go with those that an experiment is going to have.

    Args:
      config: see `configs.experiments.comparison`.
      parts: results by their files.

    Raises:
      UserError: they are of another experiment, of other recipes, or have runs that others have.
    """
    tried = searched(parts.values())
    taken = {name: set(map(str, config.seeds)) for name in config.order}
    for file, part in parts.items():
        if part["claim"] != config.claim:
            raise UserError(f"--join={file}: it is of another experiment: {part['claim']}")
        for field in MEASURED_BY:
            if part[field] != config[field]:
                raise UserError(
                    f"--join={file}: config.{field} was {part[field]!r} and is {config[field]!r}"
                )
        for name, variant in part["variants"].items():
            if name not in config.variants:
                raise UserError(f"--join={file}: {name} is no variant of this experiment")
            rates = [f"{rate:g}" for rate in config.rates.get(name, ())]
            if variant["tried"].keys() != set(rates):
                raise UserError(
                    f"--join={file}: config.rates.{name} were {', '.join(variant['tried'])} and "
                    f"are {', '.join(rates)}"
                )
            recipe = outcome.comparable(outcome.chosen(config, name, tried))
            for field in recipe | variant["recipe"]:
                before, now = (one.get(field, "absent") for one in (variant["recipe"], recipe))
                if before != now:
                    raise UserError(
                        f"--join={file}: config.variants.{name}.{field} was {before!r} and is "
                        f"{now!r}"
                    )
            others = taken.setdefault(name, set())
            if both := sorted(variant["runs"].keys() & others, key=int):
                raise UserError(
                    f"--join={file}: seed {', '.join(both)} of {name} is in another part too"
                )
            if config.average and others:
                raise UserError(
                    f"--join={file}: the networks of {name} can't be averaged with those from "
                    "elsewhere; --config.average=False does without the average"
                )
            others.update(variant["runs"])


def join(config: ConfigDict, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The results of all, which have passed `check`; variants and seeds in order."""
    variants = {}
    for name in config.variants:
        if found := [part["variants"][name] for part in parts if name in part["variants"]]:
            runs = {seed: run for variant in found for seed, run in variant["runs"].items()}
            average = found[0]["average"] if len(found) == 1 else None
            of_all = {"runs": dict(sorted(runs.items(), key=_seed)), "average": average}
            variants[name] = found[0] | of_all
    return {**parts[0], "variants": variants}


def _seed(run: tuple[str, Any]) -> int:
    return int(run[0])
