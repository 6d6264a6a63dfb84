"""Run directories as training leaves them, with numbers that the test chooses."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from src.experiment.results import DIVERGED, collect_results
from src.experiment.spec import comparison, measured_runs
from src.runs.config import write_config
from src.runs.results import write_result
from tests.support import tiny


def write_train_lines(workdir: Path, errors: list[float]) -> list[dict[str, Any]]:
    workdir.mkdir(parents=True, exist_ok=True)
    config = tiny.get_config("none")
    config.views = 9
    write_config(workdir, config)
    lines = [
        {"step": 10 * i, "epoch": float(i), "split": "train", "top1_error": error, "loss": 1.0}
        for i, error in enumerate(errors, 1)
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def write_run(
    workdir: Path, training_errors: list[float], test_error: float, day: str = ""
) -> Path:
    """A finished run with one train line per epoch."""
    lines = write_train_lines(workdir, training_errors)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**lines[-1], "split": "test", "top1_error": test_error}) + "\n")
    result = {"top1_error": test_error, "epochs": float(len(training_errors)), "seconds": 90.0}
    result["views"] = 9
    if day:
        result["machine"] = {"date": f"{day} 13:45 UTC", "device": "cpu"}
    write_result(workdir, result)
    return workdir


def write_diverged(workdir: Path, training_errors: list[float]) -> Path:
    """A run with one train line per epoch that has diverged before it was evaluated."""
    write_train_lines(workdir, training_errors)
    (workdir / DIVERGED).write_text("step 7: the loss is nan")
    return workdir


def two_variants(**changes) -> ConfigDict:
    recipe = tiny.get_config("none")
    options = {"seeds": (0, 1), "reference": {"better": "plain"}, "published": {"plain": 0.4}}
    options |= changes
    return comparison("Better is better", {"plain": recipe, "better": recipe}, **options)


def collected(
    tmp_path: Path,
    config: ConfigDict,
    runs: dict[str, list],
    lr_search_results: dict[str, dict[float, float]] | None = None,
    **averages: float,
) -> dict:
    """The results of runs with these training errors, test error and day, by variant and seed.

    A run without a test error has diverged.
    """
    numbers = {name: iter(variant_runs) for name, variant_runs in runs.items()}
    measured = measured_runs(config, tmp_path, lr_search_results or {})
    for run in measured:
        training_errors, *more = next(numbers[run.variant])
        write = write_run if more else write_diverged
        write(run.workdir, training_errors, *more)
    results = collect_results(config, measured, lr_search_results or {}, averages, "test")
    return json.loads(json.dumps(results))
