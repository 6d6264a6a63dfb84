import json
import math
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from src.experiment.analysis import results_table, sentences
from src.experiment.figure import draw_figure
from src.experiment.results import collect_results, comparable
from src.experiment.spec import comparison
from src.runs.metrics_file import read_metrics
from tests.support import tiny
from tests.support.finished import collected, of_two_variants, write_run


def write_lines(folder: Path, train: list[tuple[int, float]], steps_per_epoch: float) -> None:
    """Train lines of (step, error), in place of those that there are."""
    evaluations = [line for line in read_metrics(folder) if line["split"] != "train"]
    lines = [
        {"step": step, "epoch": step / steps_per_epoch, "split": "train", "top1_error": error}
        for step, error in train
    ]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, *evaluations])
    (folder / "metrics.jsonl").write_text(text)


def drawing(found: dict[str, Any], tmp_path: Path) -> str:
    """The outcome's figure, with its text as text."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw_figure(found, tmp_path / "figure.svg")
    return (tmp_path / "figure.svg").read_text()


def test_errors_are_compared_over_seeds(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.3], 0.40), ([0.5, 0.3], 0.42)],
        "better": [([0.4, 0.2], 0.30), ([0.4, 0.2], 0.33)],
    }
    found = collected(tmp_path, of_two_variants(), runs)
    rows = results_table(found).splitlines()
    deviation = 100 * statistics.stdev([0.40, 0.42])
    assert (
        rows[2]
        == f"| plain | 40% | 41.00 ± {deviation:.2f}% | 30.00% | 9 | 0.02 | 2 | 2 | 1.5 min |"
    )
    assert rows[0].startswith(
        "| variant | published | error on test | training error, last epoch | views on test |"
    )
    assert {row.count("|") for row in rows} == {10}
    said = sentences(found)
    assert said.startswith("Claimed: Better is better. Measured: better has 9.50 points less than")
    assert "95% interval of the difference -18.47 to -0.53 points" in said  # of 1.82 dofs
    assert "don't tell" not in said
    assert said.endswith("(none, 2 seeds).\n")


def test_differences_within_the_noise_are_called_so(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5], 0.40), ([0.5], 0.44)],
        "better": [([0.5], 0.41), ([0.5], 0.44)],
    }
    said = sentences(collected(tmp_path, of_two_variants(), runs))
    assert "0.50 points more than plain" in said
    assert "which these seeds don't tell from none" in said


def test_a_single_seed_is_called_so(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.40)], "better": [([0.5], 0.30)]}
    found = collected(tmp_path, of_two_variants(seeds=(3,)), runs)
    assert list(found["variants"]["plain"]["runs"]) == ["3"]
    said = sentences(found)
    assert "30.00% against 40.00% (in training 50.00% against 50.00%) (none, one seed)" in said


def test_epochs_until_a_training_error_are_counted(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.2, 0.1], 0.4), ([0.5, 0.4, 0.25], 0.4)],  # 2 and 3 epochs
        "better": [([0.2, 0.1, 0.1], 0.4), ([0.2, 0.1, 0.1], 0.4)],  # 1
    }
    config = of_two_variants(target_training_error=0.25, reference="better")
    found = collected(tmp_path, config, runs)
    assert [run["measured"] for run in found["variants"]["plain"]["runs"].values()] == [2, 3]
    assert (
        "plain takes 2.5 times as long as better, 2.5 ± 0.7 epochs against 1.0 ± 0.0 epochs, "
        "95% interval of the difference -4.9 to +7.9 epochs, which these seeds don't tell from none"
    ) in sentences(found)
    drawn = drawing(found, tmp_path)
    assert ">training error over an epoch, %</text>" in drawn
    assert "error on test" not in drawn
    widths = re.findall(r"stroke: (#1f77b4|#ff7f0e); stroke-width: ([\d.]+)", drawn)
    assert Counter(widths) == {("#1f77b4", "1.8"): 3, ("#ff7f0e", "1.8"): 3}  # and the legend's


def test_a_training_error_that_was_not_reached_is_no_number(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.4), ([0.2], 0.4)], "better": [([0.2], 0.4), ([0.2], 0.4)]}
    config = of_two_variants(target_training_error=0.25, reference="better")
    found = collected(tmp_path, config, runs)
    said = sentences(found)
    assert (
        "plain against better: 1.0 epochs with 1 of 2 seeds, not within 24 steps with 1 of 2 seeds "
        "against 1.0 ± 0.0 epochs"
    ) in said
    missed = {"plain": [([0.5], 0.4), ([0.5], 0.4)], "better": [([0.2], 0.4), ([0.2], 0.4)]}
    said = sentences(collected(tmp_path, config, missed))
    assert "plain against better: not within 24 steps against 1.0" in said


def test_runs_that_diverged_are_part_of_the_outcome(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.9],), ([0.5], 0.40), ([0.5], 0.42)],
        "better": [([],), ([],), ([],)],
    }
    config = of_two_variants(seeds=(0, 1, 2))
    found = collected(tmp_path, config, runs, plain=0.39, better=None)
    plain, better = (list(of_variant["runs"].values()) for of_variant in found["variants"].values())
    assert [run["measured"] for run in plain] == [None, 0.40, 0.42]
    assert plain[0]["diverged"] == "step 7: the loss is nan"
    assert (plain[0]["epochs"], better[0]["epochs"]) == (1, 0)
    shown = "41.00 ± 1.41% with 2 of 3 seeds, diverged with 1 of 3 seeds"
    rows = results_table(found).splitlines()
    assert rows[2] == f"| plain | 40% | {shown} | 50.00% | 9 | 0.02 | 3 | 1 | 1.5 min |"
    assert rows[3].startswith("| the average of 2 |  | 39.00% |")
    assert rows[4] == "| better |  | diverged |  | 9 | 0.02 | 3 | 0 |  |"
    said = sentences(found)
    assert f"better against plain: diverged against {shown}" in said
    assert "the average of its 2 networks 39.00%, 2.00 points less than one by itself" in said
    assert "the average of 2</text>" in drawing(found, tmp_path)


def test_what_diverged_is_not_compared_with_what_was_published(tmp_path: Path) -> None:
    runs = {"plain": [([0.9],)], "better": [([0.5], 0.3)]}
    found = collected(tmp_path, of_two_variants(seeds=(0,), reference=""), runs)
    assert "plain diverged (published: 40%); better 30.00%" in sentences(found)


def test_a_lucky_line_is_no_training_error_that_was_reached(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5], 0.4)
    quarters = [0.9, 0.2, 0.4, 0.3, 0.2, 0.3, 0.2, 0.28, 0.1]
    write_lines(folder, [(98 * i, error) for i, error in enumerate(quarters, 1)], 390.6)
    found = collected_of_one(folder, target_training_error=0.25)
    assert found["measured"] == pytest.approx(7 * 98 / 390.6)
    assert found["training_error"] == pytest.approx((0.3 + 0.2 + 0.28 + 0.1) / 4)


def test_the_first_lines_are_no_whole_epoch(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5], 0.4)
    write_lines(folder, [(25, 0.1), (50, 0.9), (75, 0.5), (100, 0.5)], 100)
    assert collected_of_one(folder, target_training_error=0.25)["measured"] is None


def test_steps_weigh_the_same_in_a_training_error_whatever_their_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5], 0.4)
    write_lines(folder, [(50, 0.9), (100, 0.6), (150, 0.4), (151, 0.0)], 100)
    # The last epoch begins with step 51, the first of the second line.
    mean = (50 * 0.6 + 50 * 0.4) / 101
    assert collected_of_one(folder)["training_error"] == pytest.approx(mean)
    write_lines(folder, [(50, 0.9), (60, 0.3)], 100)  # less than an epoch in all
    assert collected_of_one(folder)["training_error"] == pytest.approx(0.8)


def collected_of_one(folder: Path, **changes) -> dict:
    config = comparison("It works", {"plain": tiny.get_config("none")}, seeds=(0,), **changes)
    found = collect_results(config, {"plain": [folder]}, {}, {}, "test")
    return found["variants"]["plain"]["runs"]["0"]


@pytest.mark.parametrize(
    ("losses", "chosen", "warning"),
    [
        ([1.2, 1.0, 1.1], 0.02, ""),
        (
            [1.2, 1.1, 1.0],
            0.04,
            "the rate of better, 0.04, is the largest of those tried: a larger",
        ),
        ([1.2, 1.1, math.inf], 0.02, ""),  # it diverged
        ([1.0, 1.1, 1.2], 0.01, "the rate of better, 0.01, is the smallest of those tried"),
    ],
)
def test_a_rate_at_the_edge_of_those_tried_is_pointed_out(
    losses: list[float], chosen: float, warning: str, tmp_path: Path
) -> None:
    runs = {"plain": [([0.5], 0.4)], "better": [([0.5], 0.3)]}
    tried = {"better": dict(zip((0.01, 0.02, 0.04), losses, strict=True))}
    found = collected(tmp_path, of_two_variants(seeds=(0,)), runs, tried)
    of_better = found["variants"]["better"]
    assert of_better["recipe"]["schedule.learning_rate"] == chosen
    assert of_better["tried"]["0.01"] == losses[0]
    assert of_better["tried"]["0.04"] == (None if math.isinf(losses[2]) else losses[2])
    said = sentences(found)
    assert warning in said
    assert said.count("of those tried") == bool(warning)


def test_without_a_reference_each_is_compared_with_what_was_published(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.409)], "better": [([0.5], 0.30)]}
    config = of_two_variants(
        seeds=(0,), reference="", published={"plain": 0.4, "better": 0.142}, average=True
    )
    found = collected(tmp_path, config, runs, better=0.25)
    said = sentences(found)
    assert "plain 40.90%, 0.90 points more than the published 40%, within one point;" in said
    assert "better 30.00%, 15.80 points more than the published 14.2%, not within one point" in said
    assert "the average of its 1 networks 25.00%, 5.00 points less than one by itself (" in said
    drawn = drawing(found, tmp_path)
    assert "error on test by the center view, %" in drawn
    assert "(dashed: in training, over an epoch)" in drawn
    assert "the average of 1" in drawn


def test_variants_are_compared_each_with_its_own(tmp_path: Path) -> None:
    recipe = tiny.get_config("none")
    variants = {"none": recipe, "crops": recipe, "crops, color": recipe, "other": recipe}
    config = comparison(
        "Colors help",
        variants,
        seeds=(0,),
        reference={"crops": "none", "crops, color": "crops"},
    )
    errors = zip(variants, (0.4, 0.3, 0.28, 0.5), strict=True)
    found = collected(tmp_path, config, {name: [([0.5], error)] for name, error in errors})
    said = sentences(found)
    assert "Measured: crops has 10.00 points less than none," in said
    assert (
        "; crops, color has 2.00 points less than crops, 28.00% against 30.00% "
        "(in training 50.00% against 50.00%);"
    ) in said
    assert "; other 50.00% (" in said


def test_variants_that_are_left_out_are_not_compared_with(tmp_path: Path) -> None:
    config = of_two_variants(seeds=(0,))
    config.order = ("better",)
    said = sentences(collected(tmp_path, config, {"better": [([0.5], 0.3)]}))
    assert "Measured: better 30.00% (" in said


def test_the_days_are_those_of_the_runs(tmp_path: Path) -> None:
    errors = ([0.5], 0.40)
    config = of_two_variants()
    runs = {
        "plain": [(*errors, "2012-09-30"), (*errors, "2012-10-01")],
        "better": [(*errors, "2012-10-02"), errors],
    }
    found = collected(tmp_path, config, runs)
    assert "2012-09-30 to 2012-10-02" in sentences(found)
    runs_of_better = found["variants"]["better"]["runs"]
    assert runs_of_better["0"]["machine"] == {"date": "2012-10-02 13:45 UTC", "device": "cpu"}
    assert runs_of_better["1"]["machine"] is None


def test_a_folder_of_images_is_named_without_its_place() -> None:
    config = of_two_variants()
    recipe = config.variants.plain
    recipe.data.dataset = "folder:/home/someone/photos"
    recipe.data.root = "/scratch/someone"
    kept = comparable(recipe)
    assert kept["data.dataset"] == "folder:photos"
    assert kept["batch_size"] == recipe.batch_size
    assert "someone" not in json.dumps(kept)
    assert "seed" not in kept
