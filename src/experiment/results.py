"""The results of an experiment: for each variant its recipe, and the numbers of its runs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ..data.sources import dataset_name
from ..runs.config import CHANGEABLE, FORMAT, flatten, read_config
from ..runs.metrics_file import read_metrics
from ..runs.results import read_result
from .spec import Run, SearchResults

DIVERGED = "diverged.txt"  # a file in a run directory: why the run has diverged
ROUNDING = 1e-6  # epochs
EXCLUDED = (*(name for name in CHANGEABLE if name != "log_every"), "seed")
RUN_DEPTH = 4  # levels of results.json above a run: variants, name, runs, seed


def epoch_means(workdir: Path, metric: str) -> list[tuple[float, float]]:
    """For each line of metrics.jsonl its epoch, and a training metric's mean over the epoch before.

    A line covers only a fraction of an epoch, so its own mean varies by chance. The mean is over as
    many lines as span an epoch, or over all lines if they span less.
    """
    train = [line for line in read_metrics(workdir) if line["split"] == "train"]
    values, weights = [line[metric] for line in train], np.diff([0, *(i["step"] for i in train)])
    ends = np.array([line["epoch"] for line in train])
    starts = np.array([0, *ends[:-1]])
    firsts = np.searchsorted(starts, ends - 1 + ROUNDING, side="right") - 1
    return [
        (end, float(np.average(values[first : i + 1], weights=weights[first : i + 1])))
        for i, (end, first) in enumerate(zip(ends.tolist(), firsts.clip(0), strict=True))
    ]


def comparable(recipe: ConfigDict) -> dict[str, Any]:
    """The fields that the results depend on, as JSON: without paths and the seed."""
    fields = {name: v for name, v in flatten(recipe).items() if not name.startswith(EXCLUDED)}
    if recipe.data.dataset.startswith("folder:"):
        fields["data.dataset"] = f"folder:{dataset_name(recipe.data.dataset)}"
    return json.loads(json.dumps(fields))


def collect_results(
    config: ConfigDict,
    runs: Sequence[Run],
    lr_search_results: SearchResults,
    averages: Mapping[str, float | None],
    split: str,
) -> dict[str, Any]:
    """All that is worth keeping of an experiment, as JSON.

    Args:
      config: see `spec.comparison`.
      runs: the measured runs, finished or diverged.
      lr_search_results: see `spec.SearchResults`.
      averages: by variant, the top-1 error of the average of its networks; None if all diverged.
      split: the split that the errors are measured on.
    """
    variants = {}
    for name in config.order:
        variant_runs = [run for run in runs if run.variant == name]
        losses = lr_search_results.get(name, {}).items()
        target = config.target_training_error
        variants[name] = {
            "published": config.published.get(name),
            "recipe": comparable(variant_runs[0].recipe),
            "lr_search_results": {
                f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in losses
            },
            "runs": {f"{run.recipe.seed}": _measure(run.workdir, target) for run in variant_runs},
            "average": averages.get(name),
        }
    return {
        "format": FORMAT,
        "hypothesis": config.hypothesis,
        "dataset": variants[config.order[0]]["recipe"]["data.dataset"],
        "split": split,
        "reference": config.reference.to_dict(),
        "target_training_error": config.target_training_error,
        "search": config.search,
        "smoke": config.smoke,
        "variants": variants,
    }


def _measure(workdir: Path, target: float) -> dict[str, Any]:
    """The results of a run; `measured` is None if it has diverged or missed the target."""
    evaluations = [line for line in read_metrics(workdir) if line["split"] != "train"]
    train = epoch_means(workdir, "top1_error")
    run = {
        "views": read_config(workdir).views,
        "epochs": train[-1][0] if train else 0.0,
        "curves": {
            "train": [(round(epoch, 3), round(error, 4)) for epoch, error in train],
            "evaluation": [(round(i["epoch"], 3), round(i["top1_error"], 4)) for i in evaluations],
        },
    }
    result = read_result(workdir)
    if result is None:
        return {"measured": None, "diverged": (workdir / DIVERGED).read_text(), **run}
    reached = (epoch for epoch, error in train if epoch > 1 - ROUNDING and error <= target)
    return {
        "measured": next(reached, None) if target else result["top1_error"],
        "top1_error": result["top1_error"],
        "training_error": train[-1][1],
        "seconds": round(result["seconds"]),
        "machine": result.get("machine"),
        **run,
    }


def to_json(value: Any, depth: int = 0) -> str:
    """Indented JSON with each run on one line."""
    if depth == RUN_DEPTH or not isinstance(value, dict) or not value:
        return json.dumps(value)
    indent = "\n" + " " * depth
    items = [f"{json.dumps(name)}: {to_json(item, depth + 1)}" for name, item in value.items()]
    return f"{{{indent} {f',{indent} '.join(items)}{indent}}}"
