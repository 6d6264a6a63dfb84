"""The results of an experiment: for each variant its recipe, and the numbers of its runs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ..runs.config import FORMAT, FREE_TO_CHANGE, flatten, read_config
from ..runs.metrics_file import read_metrics
from ..runs.results import read_result

DIVERGED = "diverged.txt"  # in the run directory of a run that has diverged: the reason
ROUNDING = 1e-6  # of epochs
LEFT_OUT = (*(name for name in FREE_TO_CHANGE if name != "log_every"), "seed")
RUN_DEPTH = 4  # of a run in results.json: variants, name, runs, seed


def epoch_means(train: Sequence[Mapping[str, Any]], value: str) -> list[tuple[float, float]]:
    """For each train line, its epoch, and the mean of a value over the epoch that ends there.

    A line covers only a fraction of an epoch, so its own mean varies by chance. The mean is over as
    many lines as span an epoch; over all of them if they span less.
    """
    values = [line[value] for line in train]
    weights = np.diff([0, *(line["step"] for line in train)])
    ends = np.array([line["epoch"] for line in train])
    starts = np.array([0, *ends[:-1]])
    firsts = np.searchsorted(starts, ends - 1 + ROUNDING, side="right") - 1
    return [
        (end, float(np.average(values[first : i + 1], weights=weights[first : i + 1])))
        for i, (end, first) in enumerate(zip(ends.tolist(), firsts.clip(0), strict=True))
    ]


def train_lines(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl that training has written."""
    return [line for line in read_metrics(run) if line["split"] == "train"]


def with_best_rate(
    config: ConfigDict, variant: str, lr_search_results: Mapping[str, Mapping[float, float]]
) -> ConfigDict:
    """A variant's recipe, with the learning rate that the search found, if any."""
    recipe = config.variants[variant].copy_and_resolve_references()
    if losses := lr_search_results.get(variant):
        recipe.schedule.learning_rate = min(losses, key=lambda rate: losses[rate])
    return recipe


def comparable(recipe: ConfigDict) -> dict[str, Any]:
    """The fields that the results depend on, as JSON: without paths and the seed.

    A folder of images has its own name there, without the path to it.
    """
    fields = {
        name: value for name, value in flatten(recipe).items() if not name.startswith(LEFT_OUT)
    }
    return json.loads(json.dumps({**fields, "data.dataset": _dataset(recipe)}))


def _dataset(recipe: ConfigDict) -> str:
    kind, colon, path = recipe.data.dataset.partition(":")
    return f"{kind}:{Path(path).resolve().name}" if colon else kind


def collect_results(
    config: ConfigDict,
    directories: Mapping[str, Sequence[Path]],
    lr_search_results: Mapping[str, Mapping[float, float]],
    averages: Mapping[str, float | None],
    split: str,
) -> dict[str, Any]:
    """All that is worth keeping of an experiment, as JSON.

    Args:
      config: see `spec.comparison`.
      directories: the run directories of each variant, finished or diverged, in the order of seeds.
      lr_search_results: by variant and learning rate, the final training loss; infinite where the
        run diverged.
      averages: by variant, the top-1 error of the average of its networks; None where all have
        diverged.
      split: the split of the errors.
    """
    variants = {}
    for name, paths in directories.items():
        runs = [_run_results(path, config.target_training_error) for path in paths]
        variants[name] = {
            "published": config.published.get(name),
            "recipe": comparable(with_best_rate(config, name, lr_search_results)),
            "lr_search_results": {
                f"{rate:g}": loss if math.isfinite(loss) else None
                for rate, loss in lr_search_results.get(name, {}).items()
            },
            "runs": dict(zip(map(str, config.seeds), runs, strict=True)),
            "average": averages.get(name),
        }
    return {
        "format": FORMAT,
        "hypothesis": config.hypothesis,
        "dataset": _dataset(config.variants[config.order[0]]),
        "split": split,
        "reference": config.reference.to_dict(),
        "target_training_error": config.target_training_error,
        "search": config.search,
        "variants": variants,
    }


def _run_results(run: Path, target: float) -> dict[str, Any]:
    """`measured` is None if the run has diverged or missed the target."""
    evaluations = [line for line in read_metrics(run) if line["split"] != "train"]
    train = epoch_means(train_lines(run), "top1_error")
    curves = {
        "train": [(round(epoch, 3), round(error, 4)) for epoch, error in train],
        "evaluation": [(round(i["epoch"], 3), round(i["top1_error"], 4)) for i in evaluations],
    }
    result = read_result(run)
    if result is None:
        missing = dict.fromkeys(("measured", "top1_error", "training_error", "seconds", "machine"))
        return {
            **missing,
            "views": read_config(run).views,
            "epochs": train[-1][0] if train else 0.0,
            "diverged": (run / DIVERGED).read_text(),
            "curves": curves,
        }
    reached = (epoch for epoch, error in train if epoch > 1 - ROUNDING and error <= target)
    return {
        "measured": next(reached, None) if target else result["top1_error"],
        "top1_error": result["top1_error"],
        "training_error": train[-1][1],
        "views": result["views"],
        "epochs": result["epochs"],
        "seconds": round(result["seconds"]),
        "machine": result.get("machine"),
        "curves": curves,
    }


def to_json(value: Any, depth: int = 0) -> str:
    """Indented JSON with each run on one line."""
    if depth == RUN_DEPTH or not isinstance(value, dict) or not value:
        return json.dumps(value)
    indent = "\n" + " " * depth
    items = [f"{json.dumps(name)}: {to_json(item, depth + 1)}" for name, item in value.items()]
    return f"{{{indent} {f',{indent} '.join(items)}{indent}}}"
