import json
import math
import statistics
from pathlib import Path

import matplotlib
import pytest
from ml_collections import ConfigDict

import tiny
from configs.experiments.comparison import comparison
from finished import write_run
from src import conclusion, outcome
from src.errors import UserError


def write_lines(folder: Path, train: list[tuple[int, float]], steps_per_epoch: float) -> None:
    """Train lines of (step, error), in place of those that there are."""
    evaluations = [line for line in outcome.read_lines(folder) if line["split"] != "train"]
    lines = [
        {"step": step, "epoch": step / steps_per_epoch, "split": "train", "top1_error": error}
        for step, error in train
    ]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, *evaluations])
    (folder / "metrics.jsonl").write_text(text)


def of_two_variants(**changes) -> ConfigDict:
    recipe = tiny.get_config("none")
    options = {"seeds": (0, 1), "reference": "plain", "published": {"plain": 0.4}} | changes
    return comparison("Better is better", {"plain": recipe, "better": recipe}, **options)


def collected(
    tmp_path: Path,
    config: ConfigDict,
    runs: dict[str, list],
    tried: dict[str, dict[float, float]] | None = None,
    **averages: float,
) -> dict:
    folders = {
        name: [write_run(tmp_path / name / f"{i}", *run) for i, run in enumerate(of_variant)]
        for name, of_variant in runs.items()
    }
    found = outcome.collect(config, folders, tried or {}, averages)
    return json.loads(json.dumps(found))


def test_errors_are_compared_over_seeds(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.3], 0.40), ([0.5, 0.3], 0.42)],
        "better": [([0.4, 0.2], 0.30), ([0.4, 0.2], 0.33)],
    }
    found = collected(tmp_path, of_two_variants(), runs)
    rows = conclusion.table(found).splitlines()
    deviation = 100 * statistics.stdev([0.40, 0.42])
    assert (
        rows[2]
        == f"| plain | 40% | 41.00 ± {deviation:.2f}% | 30.00% | 9 | 0.02 | 2 | 2 | 1.5 min |"
    )
    assert rows[0].startswith(
        "| variant | published | error on test | training error, last epoch | views on test |"
    )
    assert {row.count("|") for row in rows} == {10}
    said = conclusion.sentences(found)
    assert said.startswith("Claimed: Better is better. Measured: better has 9.50 points less than")
    assert "95% interval of the difference -18.47 to -0.53 points" in said  # of 1.82 dofs
    assert "don't tell" not in said
    assert said.endswith("(none, 2 seeds).\n")


def test_differences_within_the_noise_are_called_so(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5], 0.40), ([0.5], 0.44)],
        "better": [([0.5], 0.41), ([0.5], 0.44)],
    }
    said = conclusion.sentences(collected(tmp_path, of_two_variants(), runs))
    assert "0.50 points more than plain" in said
    assert "which these seeds don't tell from none" in said


def test_a_single_seed_is_called_so(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.40)], "better": [([0.5], 0.30)]}
    found = collected(tmp_path, of_two_variants(seeds=(3,)), runs)
    assert list(found["variants"]["plain"]["runs"]) == ["3"]
    said = conclusion.sentences(found)
    assert "30.00% against 40.00% (none, one seed)" in said


def test_epochs_until_a_training_error_are_counted(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.2, 0.1], 0.4), ([0.5, 0.4, 0.25], 0.4)],  # 2 and 3 epochs
        "better": [([0.2, 0.1, 0.1], 0.4), ([0.2, 0.1, 0.1], 0.4)],  # 1
    }
    config = of_two_variants(until_training_error=0.25, reference="better")
    found = collected(tmp_path, config, runs)
    assert [run["measured"] for run in found["variants"]["plain"]["runs"].values()] == [2, 3]
    assert (
        "plain takes 2.5 times as long as better, 2.5 ± 0.7 epochs against 1.0 ± 0.0 epochs, "
        "95% interval of the difference -4.9 to +7.9 epochs, which these seeds don't tell from none"
    ) in conclusion.sentences(found)


def test_a_training_error_that_was_not_reached_is_no_number(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.4), ([0.2], 0.4)], "better": [([0.2], 0.4), ([0.2], 0.4)]}
    config = of_two_variants(until_training_error=0.25, reference="better")
    found = collected(tmp_path, config, runs)
    assert "plain against better: not within 24 steps against 1.0" in conclusion.sentences(found)


def test_a_lucky_line_is_no_training_error_that_was_reached(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5], 0.4)
    quarters = [0.9, 0.2, 0.4, 0.3, 0.2, 0.3, 0.2, 0.28, 0.1]
    write_lines(folder, [(98 * i, error) for i, error in enumerate(quarters, 1)], 390.6)
    found = collected_of_one(folder, until_training_error=0.25)
    assert found["measured"] == pytest.approx(7 * 98 / 390.6)
    assert found["training_error"] == pytest.approx((0.3 + 0.2 + 0.28 + 0.1) / 4)


def test_the_first_lines_are_no_whole_epoch(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [0.5], 0.4)
    write_lines(folder, [(25, 0.1), (50, 0.9), (75, 0.5), (100, 0.5)], 100)
    assert collected_of_one(folder, until_training_error=0.25)["measured"] is None


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
    found = outcome.collect(config, {"plain": [folder]}, {}, {})
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
    assert of_better["rate"] == chosen
    assert of_better["tried"]["0.01"] == losses[0]
    assert of_better["tried"]["0.04"] == (None if math.isinf(losses[2]) else losses[2])
    said = conclusion.sentences(found)
    assert warning in said
    assert said.count("of those tried") == bool(warning)


def test_without_a_reference_each_is_compared_with_what_was_published(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.409)], "better": [([0.5], 0.30)]}
    config = of_two_variants(
        seeds=(0,), reference="", published={"plain": 0.4, "better": 0.142}, average=True
    )
    found = collected(tmp_path, config, runs, better=0.25)
    said = conclusion.sentences(found)
    assert "plain 40.90%, 0.90 points more than the published 40%, within one point;" in said
    assert "better 30.00%, 15.80 points more than the published 14.2%, not within one point" in said
    assert "the average of its 1 networks 25.00%, 5.00 points less than one by itself (" in said
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text as text
        conclusion.draw(found, tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert "error on test by the centre view, %" in drawn
    assert "(dashed: in training, over an epoch)" in drawn
    assert "the average of 1" in drawn


def test_variants_are_compared_each_with_its_own(tmp_path: Path) -> None:
    recipe = tiny.get_config("none")
    variants = {"none": recipe, "crops": recipe, "crops, colour": recipe, "other": recipe}
    config = comparison(
        "Colours help",
        variants,
        seeds=(0,),
        reference={"crops": "none", "crops, colour": "crops"},
    )
    errors = zip(variants, (0.4, 0.3, 0.28, 0.5), strict=True)
    found = collected(tmp_path, config, {name: [([0.5], error)] for name, error in errors})
    said = conclusion.sentences(found)
    assert "Measured: crops has 10.00 points less than none," in said
    assert "; crops, colour has 2.00 points less than crops, 28.00% against 30.00%;" in said
    assert "; other 50.00% (" in said


def test_variants_that_are_left_out_are_not_compared_with(tmp_path: Path) -> None:
    config = of_two_variants(seeds=(0,))
    config.order = ("better",)
    said = conclusion.sentences(collected(tmp_path, config, {"better": [([0.5], 0.3)]}))
    assert "Measured: better 30.00% (" in said


def test_the_days_are_those_of_the_runs(tmp_path: Path) -> None:
    errors = ([0.5], 0.40)
    config = of_two_variants()
    runs = {
        "plain": [(*errors, "2012-09-30"), (*errors, "2012-10-01")],
        "better": [(*errors, "2012-10-02"), errors],
    }
    found = collected(tmp_path, config, runs)
    assert "2012-09-30 to 2012-10-02" in conclusion.sentences(found)
    runs_of_better = found["variants"]["better"]["runs"]
    assert runs_of_better["0"]["machine"] == {"date": "2012-10-02 13:45 UTC", "device": "cpu"}
    assert runs_of_better["1"]["machine"] is None


def parts(tmp_path: Path, **changes) -> tuple[dict, dict]:
    """Two seeds of one variant, and one of them of the other, from two machines."""
    here, there = of_two_variants(), of_two_variants(**changes)
    there.seeds, here.order = (2,), ("plain",)
    runs = {"plain": [([0.5], 0.4)], "better": [([0.4], 0.3)]}
    other = collected(tmp_path / "there", there, runs)
    return collected(tmp_path / "here", here, {"plain": [([0.5], 0.41), ([0.5], 0.42)]}), other


def test_results_from_two_machines_are_those_of_one(tmp_path: Path) -> None:
    together = outcome.join(*parts(tmp_path), "there.json")
    plain, better = together["variants"]["plain"], together["variants"]["better"]
    assert {seed: run["measured"] for seed, run in plain["runs"].items()} == {
        "0": 0.41,
        "1": 0.42,
        "2": 0.4,
    }
    assert list(better["runs"]) == ["2"]
    said = conclusion.sentences(together)
    assert "better has 11.00 points less than plain, 30.00% against 41.00 ± 1.00%" in said
    assert said.endswith("(none, 1 to 3 seeds).\n")
    assert conclusion.table(together).count("\n") == 4


def test_an_average_is_of_the_networks_of_one_machine(tmp_path: Path) -> None:
    here, there = parts(tmp_path)
    there["variants"]["better"]["average"] = there["variants"]["plain"]["average"] = 0.2
    variants = outcome.join(here, there, "there.json")["variants"]
    assert (variants["plain"]["average"], variants["better"]["average"]) == (None, 0.2)


def test_a_rate_that_was_searched_for_must_be_the_same(tmp_path: Path) -> None:
    config = of_two_variants(seeds=(0,), rates={"better": (0.01, 0.02)})
    runs = {"plain": [([0.5], 0.4)], "better": [([0.4], 0.3)]}
    there = collected(tmp_path, config, runs, {"better": {0.01: 1.0, 0.02: 1.1}})
    config.seeds = (1,)
    assert outcome.join(outcome.planned(config), there, "there.json")
    here = collected(tmp_path, config, runs, {"better": {0.01: 1.1, 0.02: 1.0}})
    with pytest.raises(UserError, match=r"schedule.rate=0.01 there and 0.02 here"):
        outcome.join(here, there, "there.json")


def test_what_does_not_belong_together_is_not_joined(tmp_path: Path) -> None:
    here, there = parts(tmp_path)
    plan = outcome.planned(of_two_variants())
    assert outcome.join(plan, there, "there.json")
    with pytest.raises(UserError, match=r"there.json: it is of another experiment: Other"):
        outcome.join(plan, {**there, "claim": "Other"}, "there.json")
    with pytest.raises(
        UserError, match=r"there.json: plain has runs of seed 0, 1, and here are too"
    ):
        outcome.join(plan, here, "there.json")
    there["variants"]["plain"]["recipe"]["batch_size"] = 1
    expected = "there.json: plain has config.batch_size=1 there and 32 here"
    with pytest.raises(UserError, match=expected):
        outcome.join(plan, there, "there.json")


@pytest.mark.parametrize("text", [None, "", "[1, 2]", '{"claim": ""}', "{"])
def test_a_file_that_has_no_results_is_named(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "there.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=r"there.json: no results.json of an experiment"):
        outcome.read(file)


def test_results_without_recipes_are_not_joined(tmp_path: Path) -> None:
    file = tmp_path / "there.json"
    file.write_text('{"claim": "Better is better", "variants": {"plain": {"runs": {}}}}')
    with pytest.raises(UserError, match=r"there.json: it has no recipes"):
        outcome.read(file)


def test_results_name_no_place_of_this_machine(tmp_path: Path) -> None:
    config = of_two_variants(seeds=(0,))
    for variant in config.order:
        config.variants[variant].data.dataset = "folder:/home/someone/photos"
        config.variants[variant].data.root = "/scratch/someone"
    plan = outcome.planned(config)
    assert plan["dataset"] == "folder:photos"
    assert plan["variants"]["plain"]["recipe"]["data.dataset"] == "folder:photos"
    assert "someone" not in json.dumps(plan)
