"""What came out of an experiment: of each variant its recipe, and the numbers of its runs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ..runs.config import FREE_TO_CHANGE, flatten, read_config
from ..runs.metrics_file import read_metrics
from ..runs.results import read_result

DIVERGED = "diverged.txt"  # in the folder of a run that has, what it was told of
ROUNDING = 1e-6  # of epochs
LEFT_OUT = (*(name for name in FREE_TO_CHANGE if name != "log_every"), "seed")


def lines(folder: Path, split: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl: of "train", or of "evaluation", whatever its split."""
    found = read_metrics(folder)
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


def chosen(
    config: ConfigDict, variant: str, tried: Mapping[str, Mapping[float, float]]
) -> ConfigDict:
    """A variant's recipe, with the learning rate that came out of the search for it, if any."""
    recipe = config.variants[variant].copy_and_resolve_references()
    if variant in tried:
        recipe.schedule.learning_rate = best(tried[variant])
    return recipe


def best(tried: Mapping[float, float]) -> float:
    """The learning rate whose training loss was the lowest in the end."""
    return min(tried, key=lambda rate: tried[rate])


def comparable(recipe: ConfigDict) -> dict[str, Any]:
    """The fields that what is measured depends on, as JSON; without those of places, and the seed.

    A folder of images has its own name there, without that of the folder that it is in.
    """
    found = {
        name: value for name, value in flatten(recipe).items() if not name.startswith(LEFT_OUT)
    }
    return json.loads(json.dumps({**found, "data.dataset": _dataset(recipe)}))


def _dataset(recipe: ConfigDict) -> str:
    kind, colon, place = recipe.data.dataset.partition(":")
    return f"{kind}:{Path(place).resolve().name}" if colon else kind


def collect_results(
    config: ConfigDict,
    folders: Mapping[str, Sequence[Path]],
    tried: Mapping[str, Mapping[float, float]],
    averages: Mapping[str, float | None],
    split: str,
) -> dict[str, Any]:
    """All that is worth keeping of an experiment, as JSON.

    Args:
      config: see `spec.comparison`.
      folders: of each variant's runs, finished or diverged, in the order of the seeds.
      tried: the training loss that each learning rate of the search came to, by variant; infinite
        where it diverged.
      averages: the top-1 error of the average of a variant's networks, by variant; None where
        all have diverged.
      split: what the errors are of.
    """
    variants = {}
    for name, runs in folders.items():
        of_runs = [_of_run(folder, config.target_training_error) for folder in runs]
        variants[name] = {
            "published": config.published.get(name),
            "recipe": comparable(chosen(config, name, tried)),
            "tried": {
                f"{rate:g}": loss if math.isfinite(loss) else None
                for rate, loss in tried.get(name, {}).items()
            },
            "runs": dict(zip(map(str, config.seeds), of_runs, strict=True)),
            "average": averages.get(name),
        }
    return {
        "claim": config.claim,
        "dataset": _dataset(config.variants[config.order[0]]),
        "split": split,
        "reference": config.reference.to_dict(),
        "target_training_error": config.target_training_error,
        "search": config.search,
        "variants": variants,
    }


def _of_run(folder: Path, target: float) -> dict[str, Any]:
    """What is measured of a run is None where it has diverged, or not come to the target."""
    evaluations = [(line["epoch"], line["top1_error"]) for line in lines(folder, "evaluation")]
    train = over_an_epoch(folder, "top1_error")
    reached = [epoch for epoch, error in train if epoch > 1 - ROUNDING and error <= target]
    curves = {
        split: [(round(epoch, 3), round(error, 4)) for epoch, error in curve]
        for split, curve in [("train", train), ("evaluation", evaluations)]
    }
    result = read_result(folder)
    if result is None:
        nothing = dict.fromkeys(("measured", "top1_error", "training_error", "seconds", "machine"))
        diverged = (folder / DIVERGED).read_text()
        last = train[-1][0] if train else 0.0
        views = read_config(folder).views
        return {**nothing, "views": views, "epochs": last, "diverged": diverged, "curves": curves}
    return {
        "measured": (reached[0] if reached else None) if target else result["top1_error"],
        "top1_error": result["top1_error"],
        "training_error": train[-1][1],
        "views": result["views"],
        "epochs": result["epochs"],
        "seconds": round(result["seconds"]),
        "machine": result.get("machine"),
        "curves": curves,
    }
