import json
import math
import signal
import statistics
from pathlib import Path

import matplotlib
import pytest
from ml_collections import ConfigDict

import commands
import tiny
from configs.experiments.comparison import changed, comparison
from launched import wait_for
from src import outcome
from src.errors import DivergedError
from src.experiment import experiment
from src.place import place
from src.processes import Team
from src.stopping import SAVED

EXPERIMENTS = sorted(
    path.stem
    for path in (commands.ROOT / "configs/experiments").glob("*.py")
    if "def get_config" in path.read_text()
)


def write_lines(folder: Path, train: list[tuple[int, float]], steps_per_epoch: float) -> None:
    """Train lines of (step, error), in place of those that there are."""
    evaluations = [line for line in outcome.read_lines(folder) if line["split"] != "train"]
    lines = [
        {"step": step, "epoch": step / steps_per_epoch, "split": "train", "top1_error": error}
        for step, error in train
    ]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, *evaluations])
    (folder / "metrics.jsonl").write_text(text)


def write_run(folder: Path, training_errors: list[float], test_error: float, day: str = "") -> Path:
    """A finished run of an epoch a line."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"step": 10 * i, "epoch": float(i), "split": "train", "top1_error": error, "loss": 1.0}
        for i, error in enumerate(training_errors, 1)
    ]
    lines.append({**lines[-1], "split": "test", "top1_error": test_error})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"top1_error": test_error, "epochs": float(len(training_errors)), "seconds": 90.0}
    result["views"] = 9
    if day:
        result["machine"] = {"date": f"{day} 13:45 UTC", "device": "cpu"}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


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
    rows = outcome.table(found).splitlines()
    deviation = 100 * statistics.stdev([0.40, 0.42])
    assert (
        rows[2]
        == f"| plain | 40% | 41.00 ± {deviation:.2f}% | 30.00% | 9 | 0.02 | 2 | 2 | 1.5 min |"
    )
    assert rows[0].startswith(
        "| variant | published | error on test | training error, last epoch | views on test |"
    )
    assert {row.count("|") for row in rows} == {10}
    said = outcome.sentences(found)
    assert said.startswith("Claimed: Better is better. Measured: better has 9.50 points less than")
    assert "95% interval of the difference -18.47 to -0.53 points" in said  # of 1.82 dofs
    assert "don't tell" not in said
    assert said.endswith("(none, 2 seeds).\n")


def test_differences_within_the_noise_are_called_so(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5], 0.40), ([0.5], 0.44)],
        "better": [([0.5], 0.41), ([0.5], 0.44)],
    }
    said = outcome.sentences(collected(tmp_path, of_two_variants(), runs))
    assert "0.50 points more than plain" in said
    assert "which 2 seeds don't tell from none" in said


def test_a_single_seed_is_called_so(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.40)], "better": [([0.5], 0.30)]}
    found = collected(tmp_path, of_two_variants(seeds=(3,)), runs)
    assert list(found["variants"]["plain"]["runs"]) == ["3"]
    said = outcome.sentences(found)
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
        "95% interval of the difference -4.9 to +7.9 epochs, which 2 seeds don't tell from none"
    ) in outcome.sentences(found)


def test_a_training_error_that_was_not_reached_is_no_number(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.4), ([0.2], 0.4)], "better": [([0.2], 0.4), ([0.2], 0.4)]}
    config = of_two_variants(until_training_error=0.25, reference="better")
    found = collected(tmp_path, config, runs)
    assert "plain against better: not within 24 steps against 1.0" in outcome.sentences(found)


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
    said = outcome.sentences(found)
    assert warning in said
    assert said.count("of those tried") == bool(warning)


def test_without_a_reference_each_is_compared_with_what_was_published(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.409)], "better": [([0.5], 0.30)]}
    config = of_two_variants(
        seeds=(0,), reference="", published={"plain": 0.4, "better": 0.142}, average=True
    )
    found = collected(tmp_path, config, runs, better=0.25)
    said = outcome.sentences(found)
    assert "plain 40.90%, 0.90 points more than the published 40%, within one point;" in said
    assert "better 30.00%, 15.80 points more than the published 14.2%, not within one point" in said
    assert "the average of its 1 networks 25.00%, 5.00 points less than one by itself (" in said
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text as text
        outcome.draw(found, tmp_path / "figure.svg")
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
    said = outcome.sentences(found)
    assert "Measured: crops has 10.00 points less than none," in said
    assert "; crops, colour has 2.00 points less than crops, 28.00% against 30.00%;" in said
    assert "; other 50.00% (" in said


def test_variants_that_are_left_out_are_not_compared_with(tmp_path: Path) -> None:
    config = of_two_variants(seeds=(0,))
    config.order = ("better",)
    said = outcome.sentences(collected(tmp_path, config, {"better": [([0.5], 0.3)]}))
    assert "Measured: better 30.00% (" in said


def test_the_days_are_those_of_the_runs(tmp_path: Path) -> None:
    errors = ([0.5], 0.40)
    config = of_two_variants()
    runs = {
        "plain": [(*errors, "2012-09-30"), (*errors, "2012-10-01")],
        "better": [(*errors, "2012-10-02"), errors],
    }
    found = collected(tmp_path, config, runs)
    assert "2012-09-30 to 2012-10-02" in outcome.sentences(found)
    runs_of_better = found["variants"]["better"]["runs"]
    assert runs_of_better["0"]["machine"] == {"date": "2012-10-02 13:45 UTC", "device": "cpu"}
    assert runs_of_better["1"]["machine"] is None


def test_a_change_leaves_the_recipe_that_it_is_made_of_alone() -> None:
    recipe = tiny.get_config()
    assert changed(recipe, {"model.convs.conv1.maps": 16}).model.convs.conv1.maps == 16
    assert recipe.model.convs.conv1.maps == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_in_short(name: str, tmp_path: Path, cache: Path) -> None:
    ended = commands.run(
        "src.experiment",
        f"--config=configs/experiments/{name}.py:digits",
        f"--workdir={tmp_path}",
        cache=cache,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert f"Claimed: {found['claim']}. Measured: " in ended.stdout
    for variant, of_variant in found["variants"].items():
        assert f"| {variant} |" in ended.stdout
        for run in of_variant["runs"].values():
            assert 0 < run["top1_error"] < 1
            assert run["curves"]["evaluation"]
    told = (tmp_path / "table.md").read_text()
    assert told in ended.stdout
    assert "Claimed: " in told
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["conv-local-13pct", "conv-local-11pct"])
def test_first_epochs_of_networks_that_take_days(network: str, tmp_path: Path, cache: Path) -> None:
    ended = commands.run(
        "src.main",
        f"--config=configs/cifar.py:{network}",
        "--config.data.dataset=digits",
        "--config.duration=2 epochs",
        f"--workdir={tmp_path}",
        cache=cache,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "result.json").read_text())["views"] == 9


@pytest.mark.slow
def test_an_experiment_that_was_stopped_goes_on(tmp_path: Path, cache: Path) -> None:
    def flags(name: str) -> list[str]:
        return ["--config=tests/tiny_experiment.py", f"--workdir={tmp_path / name}"]

    whole = commands.run("src.experiment", *flags("whole"), cache=cache)
    assert whole.returncode == 0, whole.stderr

    second = tmp_path / "stopped/tanh/seed0/metrics.jsonl"
    with commands.start("src.experiment", *flags("stopped"), cache=cache) as process:
        wait_for(lambda: second.exists() and second.read_text())
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=300)
    assert process.returncode == SAVED, err
    assert not (tmp_path / "stopped/results.json").exists()

    again = commands.run("src.experiment", *flags("stopped"), cache=cache)
    assert again.returncode == 0, again.stderr
    assert "is finished after" in again.stdout  # the first run is not trained again
    results = [
        json.loads((tmp_path / name / "results.json").read_text())["variants"]
        for name in ("whole", "stopped")
    ]
    for variants in results:
        for variant in variants.values():
            for run in variant["runs"].values():
                del run["seconds"]
                assert run.pop("machine")["device"] == "cpu"
    assert results[0] == results[1]

    outcome_files = [tmp_path / "stopped" / name for name in ("results.json", "table.md")]
    before = [file.read_text() for file in outcome_files]
    assert commands.run("src.experiment", *flags("stopped"), cache=cache).returncode == 0
    assert [file.read_text() for file in outcome_files] == before


def test_a_run_that_diverges_is_named_and_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def train(recipe: ConfigDict, folder: Path, team: Team, name: str) -> int:
        trained.append(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(recipe.to_dict()))
        if recipe.schedule.rate > 0.1 or (recipe.seed == 3 and diverges):
            raise DivergedError("step 7: the loss is nan")
        if not (folder / "result.json").exists():
            write_run(folder, [recipe.schedule.rate], 0.3)
        return 0

    monkeypatch.setattr("src.experiment.train", train)
    config = of_two_variants(seeds=(3,), rates={"better": (0.05, 0.2)})
    diverges = True
    team = Team(place({}), **tiny.get_config().processes)
    search = ["1/4 better, rate 0.05", "2/4 better, rate 0.2"]
    for expected in ([*search, "3/4 plain, seed 3"], ["1/4 better, rate 0.05"]):
        with pytest.raises(DivergedError, match=r"^plain, seed 3: step 7: the loss is nan"):
            experiment(config, tmp_path, team)
        assert capsys.readouterr().out.startswith("better, rate 0.2: step 7: the loss is nan")
        assert trained == expected
        trained.clear()

    diverges = False
    config.variants.plain = changed(config.variants.plain, {"batch_size": 16})  # another run
    for _ in range(2):
        assert experiment(config, tmp_path, team) == 0
        assert trained == ["1/4 better, rate 0.05", "3/4 plain, seed 3", "4/4 better, seed 3"]
        trained.clear()


@pytest.mark.parametrize(
    ("module", "config", "message"),
    [
        ("src.experiment", "tests/tiny.py", "--config: a recipe, no experiment"),
        ("src.main", "tests/tiny_experiment.py", "--config: an experiment, no recipe"),
    ],
)
def test_recipes_and_experiments_are_told_apart(
    module: str, config: str, message: str, cache: Path
) -> None:
    ended = commands.run(module, f"--config={config}", cache=cache)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {message}")
    assert len(ended.stderr.splitlines()) == 1
