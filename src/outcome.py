"""What came out of an experiment: of each variant its recipe, and the numbers of its runs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from src.errors import UserError
from src.metrics import read_lines
from src.workdir import FREE_TO_CHANGE, fields, read_result

ROUNDING = 1e-6  # of epochs


def lines(folder: Path, split: str) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl: of "train", or of "evaluation", whatever its split."""
    found = read_lines(folder)
    return [line for line in found if (line["split"] == "train") == (split == "train")]


def over_an_epoch(folder: Path, value: str) -> list[tuple[float, float]]:
    """Of each train line, its epoch, and the mean of a value over the epoch that ends there.

    A line is of a fraction of an epoch, and its mean a matter of luck. As many lines are taken as
    span an epoch; all, where they don't.
    """
    train = lines(folder, "train")
    values, weights = [line[value] for line in train], np.diff([0, *(i["step"] for i in train)])
    ends = np.array([line["epoch"] for line in train])
    starts = np.array([0, *ends[:-1]])
    firsts = np.searchsorted(starts, ends - 1 + ROUNDING, side="right") - 1
    return [
        (end, float(np.average(values[first : i + 1], weights=weights[first : i + 1])))
        for i, (end, first) in enumerate(zip(ends.tolist(), firsts.clip(0), strict=True))
    ]


def planned(config: ConfigDict) -> dict[str, Any]:
    """What is known of an experiment before it is run: of each variant the recipe and the seeds.

    Args:
      config: see `configs.experiments.comparison`.
    """
    return {
        "claim": config.claim,
        "dataset": _dataset(config.variants[config.order[0]]),
        "reference": config.reference.to_dict(),
        "until_training_error": config.until_training_error,
        "variants": {
            name: {
                "published": config.published.get(name),
                "recipe": _settings(recipe),
                "rate": None if name in config.rates else recipe.schedule.rate,
                "tried": {},
                "runs": {str(seed): {} for seed in config.seeds if name in config.order},
                "average": None,
            }
            for name, recipe in config.variants.items()
        },
    }


def _dataset(recipe: ConfigDict) -> str:
    """The data set, without the place that it has on this machine."""
    kind, colon, place = recipe.data.dataset.partition(":")
    return f"{kind}{colon}{Path(place).name}"


def _settings(recipe: ConfigDict) -> dict[str, Any]:
    """The fields that what is trained depends on, but for those that a variant's runs differ in."""
    elsewhere = (*FREE_TO_CHANGE, "seed", "schedule.rate")
    chosen = {
        name: value for name, value in fields(recipe).items() if not name.startswith(elsewhere)
    }
    return json.loads(json.dumps({**chosen, "data.dataset": _dataset(recipe)}))


def collect(
    config: ConfigDict,
    folders: Mapping[str, Sequence[Path]],
    tried: Mapping[str, Mapping[float, float]],
    averages: Mapping[str, float],
) -> dict[str, Any]:
    """All that is worth keeping of an experiment, as JSON.

    Args:
      config: see `configs.experiments.comparison`.
      folders: of each variant's finished runs, in the order of the seeds.
      tried: the training loss that each learning rate of the search came to, by variant; infinite
        where it diverged.
      averages: the top-1 error of the average of a variant's networks, by variant.
    """
    found = planned(config)
    found["split"] = lines(folders[config.order[0]][0], "evaluation")[-1]["split"]
    plans, found["variants"] = found["variants"], {}
    for name, runs in folders.items():
        of_runs = [_of_run(folder, config.until_training_error) for folder in runs]
        found["variants"][name] = {
            **plans[name],
            "runs": dict(zip(plans[name]["runs"], of_runs, strict=True)),
            "average": averages.get(name),
        }
    for name, losses in tried.items():
        found["variants"][name]["rate"] = best(losses)
        found["variants"][name]["tried"] = {
            f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in losses.items()
        }
    return json.loads(json.dumps(found))


def read(path: Path) -> dict[str, Any]:
    """What `collect` has found on another machine, or earlier.

    Raises:
      UserError: the file can't be read, or is another.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no results.json of an experiment: {error}") from None
    if not isinstance(found, dict) or not {"claim", "variants"} <= found.keys():
        raise UserError(f"{path}: no results.json of an experiment")
    if not all("recipe" in variant for variant in found["variants"].values()):
        raise UserError(f"{path}: it has no recipes, as of an earlier version; train anew")
    return found


def join(found: Mapping[str, Any], other: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The results of one experiment together with those that it has elsewhere.

    Args:
      found: what `collect` returns, or `planned`, to see whether they can be joined.
      other: what `read` has returned.
      source: how to name it in errors.

    Raises:
      UserError: it is of another experiment, of other recipes, or has runs that are in both.
    """
    if other["claim"] != found["claim"]:
        raise UserError(f"{source}: it is of another experiment: {other['claim']}")
    together = {**found, "variants": {**other["variants"], **found["variants"]}}
    for name in other["variants"].keys() & found["variants"].keys():
        ours, theirs = found["variants"][name], other["variants"][name]
        together["variants"][name] = _join_runs(ours, theirs, f"{source}: {name}")
    return together


def _join_runs(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> dict[str, Any]:
    recipes = [{**one["recipe"], "schedule.rate": one["rate"]} for one in (theirs, ours)]
    if ours["rate"] is None:  # that is to be searched for
        recipes[1]["schedule.rate"] = theirs["rate"]
    for field in recipes[0] | recipes[1]:
        before, now = (recipe.get(field, "absent") for recipe in recipes)
        if before != now:
            raise UserError(f"{where} has config.{field}={before!r} there and {now!r} here")
    if both := ours["runs"].keys() & theirs["runs"].keys():
        raise UserError(f"{where} has runs of seed {', '.join(sorted(both))}, and here are too")
    return {**ours, "runs": {**theirs["runs"], **ours["runs"]}, "average": None}


def best(tried: Mapping[float, float]) -> float:
    """The learning rate whose training loss was the lowest in the end."""
    return min(tried, key=lambda rate: tried[rate])


def _of_run(folder: Path, target: float) -> dict[str, Any]:
    result = read_result(folder)
    assert result is not None  # of runs that are finished
    evaluations = [(line["epoch"], line["top1_error"]) for line in lines(folder, "evaluation")]
    train = over_an_epoch(folder, "top1_error")
    reached = [epoch for epoch, error in train if epoch > 1 - ROUNDING and error <= target]
    return {
        "measured": (reached[0] if reached else None) if target else result["top1_error"],
        "top1_error": result["top1_error"],
        "training_error": train[-1][1],
        "views": result["views"],
        "epochs": result["epochs"],
        "seconds": round(result["seconds"]),
        "machine": result.get("machine"),
        "curves": {
            split: [(round(epoch, 3), round(error, 4)) for epoch, error in curve]
            for split, curve in [("train", train), ("evaluation", evaluations)]
        },
    }
