"""Run directories as training leaves them, with numbers that the test chooses."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from src.experiment.results import DIVERGED, collect_results
from src.experiment.spec import comparison
from src.runs.config import write_config
from src.runs.results import write_result
from tests.support import tiny


def write_train_lines(folder: Path, errors: list[float]) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"step": 10 * i, "epoch": float(i), "split": "train", "top1_error": error, "loss": 1.0}
        for i, error in enumerate(errors, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def write_run(folder: Path, training_errors: list[float], test_error: float, day: str = "") -> Path:
    """A finished run with one train line per epoch."""
    lines = write_train_lines(folder, training_errors)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**lines[-1], "split": "test", "top1_error": test_error}) + "\n")
    result = {"top1_error": test_error, "epochs": float(len(training_errors)), "seconds": 90.0}
    result["views"] = 9
    if day:
        result["machine"] = {"date": f"{day} 13:45 UTC", "device": "cpu"}
    write_result(folder, result)
    return folder


def write_diverged(folder: Path, training_errors: list[float]) -> Path:
    """A run with one train line per epoch that has diverged before it was evaluated."""
    write_train_lines(folder, training_errors)
    config = tiny.get_config("none")
    config.views = 9
    write_config(folder, config)
    (folder / DIVERGED).write_text("step 7: the loss is nan")
    return folder


def of_two_variants(**changes) -> ConfigDict:
    recipe = tiny.get_config("none")
    options = {"seeds": (0, 1), "reference": "plain", "published": {"plain": 0.4}} | changes
    return comparison("Better is better", {"plain": recipe, "better": recipe}, **options)


def collected(
    tmp_path: Path,
    config: ConfigDict,
    runs: dict[str, list],
    lr_search_results: dict[str, dict[float, float]] | None = None,
    **averages: float,
) -> dict:
    directories = {
        name: [
            (write_run if len(run) > 1 else write_diverged)(tmp_path / name / f"{i}", *run)
            for i, run in enumerate(variant_runs)
        ]
        for name, variant_runs in runs.items()
    }
    results = collect_results(config, directories, lr_search_results or {}, averages, "test")
    return json.loads(json.dumps(results))
