"""What is measured of a run: training errors over whole epochs."""

import json
from pathlib import Path

import pytest

from src.experiment.results import collect_results
from src.experiment.spec import Run, comparison
from src.runs.metrics_file import read_metrics
from tests.support import tiny
from tests.support.finished import write_run


def write_lines(workdir: Path, train: list[tuple[int, float]], steps_per_epoch: float) -> None:
    """Replaces the train lines by lines of these (step, error)."""
    evaluations = [line for line in read_metrics(workdir) if line["split"] != "train"]
    lines = [
        {"step": step, "epoch": step / steps_per_epoch, "split": "train", "top1_error": error}
        for step, error in train
    ]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, *evaluations])
    (workdir / "metrics.jsonl").write_text(text)


def test_single_low_line_does_not_reach_the_target(tmp_path: Path) -> None:
    workdir = write_run(tmp_path, [0.5], 0.4)
    quarters = [0.9, 0.2, 0.4, 0.3, 0.2, 0.3, 0.2, 0.28, 0.1]
    write_lines(workdir, [(98 * i, error) for i, error in enumerate(quarters, 1)], 390.6)
    results = measured_run(workdir, target_training_error=0.25)
    assert results["measured"] == pytest.approx(7 * 98 / 390.6)
    assert results["training_error"] == pytest.approx((0.3 + 0.2 + 0.28 + 0.1) / 4)


def test_target_needs_a_whole_epoch(tmp_path: Path) -> None:
    workdir = write_run(tmp_path, [0.5], 0.4)
    write_lines(workdir, [(25, 0.1), (50, 0.9), (75, 0.5), (100, 0.5)], 100)
    assert measured_run(workdir, target_training_error=0.25)["measured"] is None


def test_training_error_weighs_all_steps_equally(tmp_path: Path) -> None:
    workdir = write_run(tmp_path, [0.5], 0.4)
    write_lines(workdir, [(50, 0.9), (100, 0.6), (150, 0.4), (151, 0.0)], 100)
    # The last epoch begins with step 51, the first of the second line.
    mean = (50 * 0.6 + 50 * 0.4) / 101
    assert measured_run(workdir)["training_error"] == pytest.approx(mean)
    write_lines(workdir, [(50, 0.9), (60, 0.3)], 100)  # less than an epoch in all
    assert measured_run(workdir)["training_error"] == pytest.approx(0.8)


def measured_run(workdir: Path, **changes) -> dict:
    recipe = tiny.get_config("none")
    config = comparison("It works", {"plain": recipe}, **changes)
    results = collect_results(config, [Run("plain", "seed 0", recipe, workdir)], {}, {}, "test")
    return results["variants"]["plain"]["runs"]["0"]
