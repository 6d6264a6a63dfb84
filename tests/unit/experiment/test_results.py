import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from src.experiment.analysis import describe_results, format_results
from src.experiment.results import comparable, to_json
from src.experiment.spec import comparison
from tests.support import commands, tiny
from tests.support.finished import collected, two_variants


def table(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The cells of the table, by row and column."""
    header, _, *rows = [
        line.strip("|").split("|")
        for line in describe_results(results).splitlines()
        if line.startswith("|")
    ]
    columns = [name.strip() for name in header]
    cells = [dict(zip(columns, map(str.strip, row), strict=True)) for row in rows]
    return {row["variant"]: row for row in cells}


def notes(results: dict[str, Any]) -> list[str]:
    """The lines below the table."""
    return [line for line in describe_results(results).splitlines() if line.startswith("- ")]


DIFFERENCE = "difference (95% CI)"
UNTIL = "until a training error of 25% over an epoch"


def test_table_compares_errors_over_seeds(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.3], 0.40), ([0.5, 0.3], 0.42)],
        "better": [([0.4, 0.2], 0.30), ([0.4, 0.2], 0.33)],
    }
    results = collected(tmp_path, two_variants(), runs)
    deviation = 100 * statistics.stdev([0.40, 0.42])
    assert list(table(results)["plain"].items()) == [
        ("variant", "plain"),
        ("published", "40%"),
        ("error on test", f"41.00 ± {deviation:.2f}%"),
        ("reference", "published"),
        (DIFFERENCE, "+1.00 points"),
        ("training error, last epoch", "30.00%"),
        ("views on test", "9"),
        ("learning rate", "0.02"),
        ("seeds", "2"),
        ("epochs", "2"),
        ("time of a run", "1.5 min"),
    ]
    better = table(results)["better"]
    assert better["reference"] == "plain"
    assert better[DIFFERENCE] == "−9.50 points (−18.47 to −0.53)"  # of 1.82 degrees of freedom
    assert notes(results) == ["- Hypothesis: Better is better.", "- Data set none, 2 seeds."]


def test_differences_within_the_noise_are_not_significant(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5], 0.40), ([0.5], 0.44)],
        "better": [([0.5], 0.41), ([0.5], 0.44)],
    }
    difference = table(collected(tmp_path, two_variants(), runs))["better"][DIFFERENCE]
    assert difference.startswith("+0.50 points (−")
    assert difference.endswith(", not significant)")


def test_single_seed_has_no_confidence_interval(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.40)], "better": [([0.5], 0.30)]}
    results = collected(tmp_path, two_variants(seeds=(3,)), runs)
    assert list(results["variants"]["plain"]["runs"]) == ["3"]
    rows = table(results)
    assert [rows[name]["error on test"] for name in ("better", "plain")] == ["30.00%", "40.00%"]
    assert [row["training error, last epoch"] for row in rows.values()] == ["50.00%", "50.00%"]
    assert rows["better"][DIFFERENCE] == "−10.00 points"
    assert notes(results)[1] == "- Data set none, one seed."


def test_table_counts_epochs_until_a_training_error(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.2, 0.1], 0.4), ([0.5, 0.4, 0.25], 0.4)],  # 2 and 3 epochs
        "better": [([0.2, 0.1, 0.1], 0.4), ([0.2, 0.1, 0.1], 0.4)],  # 1
    }
    config = two_variants(target_training_error=0.25, reference={"plain": "better"})
    results = collected(tmp_path, config, runs)
    assert [run["measured"] for run in results["variants"]["plain"]["runs"].values()] == [2, 3]
    rows = table(results)
    assert rows["plain"][UNTIL] == "2.5 ± 0.7 epochs"
    assert rows["better"][UNTIL] == "1.0 ± 0.0 epochs"
    assert rows["plain"]["reference"] == "better"
    expected = "2.5 times, +1.5 epochs (−4.9 to +7.9, not significant)"
    assert rows["plain"][DIFFERENCE] == expected


def test_table_compares_epochs_with_published_epochs(tmp_path: Path) -> None:
    runs = {"plain": [([0.5, 0.2, 0.1], 0.4)], "better": [([0.2], 0.4)]}
    published = {"plain": 1.5, "better": 2.0}
    config = two_variants(target_training_error=0.25, seeds=(0,), published=published)
    plain, better = table(collected(tmp_path, config, runs)).values()
    assert list(plain.values())[1:5] == [
        *("1.5 epochs", "2.0 epochs", "published", "1.3 times, +0.5 epochs")
    ]
    assert list(better.values())[1:5] == [
        *("2 epochs", "1.0 epochs", "plain", "0.5 times, −1.0 epochs")
    ]


def test_missed_training_error_is_reported_in_words(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.4), ([0.2], 0.4)], "better": [([0.2], 0.4), ([0.2], 0.4)]}
    config = two_variants(target_training_error=0.25, reference={"plain": "better"})
    results = collected(tmp_path, config, runs)
    rows = table(results)
    assert rows["plain"][UNTIL] == "1.0 epochs, not within 24 steps with 1 of 2 seeds"
    assert rows["better"][UNTIL] == "1.0 ± 0.0 epochs"
    assert (rows["plain"]["reference"], rows["plain"][DIFFERENCE]) == ("better", "")
    missed = {"plain": [([0.5], 0.4), ([0.5], 0.4)], "better": [([0.2], 0.4), ([0.2], 0.4)]}
    plain = table(collected(tmp_path, config, missed))["plain"]
    assert (plain[UNTIL], plain[DIFFERENCE]) == ("not within 24 steps", "")


def test_diverged_runs_are_part_of_the_results(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.9],), ([0.5], 0.40), ([0.5], 0.42)],
        "better": [([],), ([],), ([],)],
    }
    config = two_variants(seeds=(0, 1, 2))
    results = collected(tmp_path, config, runs, plain=0.39, better=None)
    plain, better = (list(variant["runs"].values()) for variant in results["variants"].values())
    assert [run["measured"] for run in plain] == [None, 0.40, 0.42]
    assert plain[0]["diverged"] == "step 7: the loss is nan"
    assert (plain[0]["epochs"], better[0]["epochs"]) == (1, 0)
    error = "41.00 ± 1.41%, diverged with 1 of 3 seeds"
    rows = table(results)
    assert list(rows) == ["plain", "average of 2 networks", "better"]
    assert list(rows["plain"].values())[2:] == [
        *(error, "published", "", "50.00%", "9", "0.02", "3", "1", "1.5 min")
    ]
    average = list(rows["average of 2 networks"].values())[1:5]
    assert average == ["", "39.00%", "one network", "−2.00 points"]
    assert list(rows["better"].values())[1:] == [
        *("", "diverged", "plain", "", "", "9", "0.02", "3", "0", "")
    ]


def test_diverged_runs_are_not_compared_with_published_errors(tmp_path: Path) -> None:
    runs = {"plain": [([0.9],)], "better": [([0.5], 0.3)]}
    results = collected(tmp_path, two_variants(seeds=(0,), reference={}), runs)
    plain, better = table(results).values()
    assert list(plain.values())[1:5] == ["40%", "diverged", "published", ""]
    assert list(better.values())[1:5] == ["", "30.00%", "", ""]


@pytest.mark.parametrize(
    ("losses", "chosen", "warning"),
    [
        ([1.2, 1.0, 1.1], 0.02, ""),
        ([1.2, 1.1, 1.0], 0.04, "0.04, is the largest tried: a larger one may be better."),
        ([1.2, 1.1, math.inf], 0.02, ""),  # it diverged
        ([1.0, 1.1, 1.2], 0.01, "0.01, is the smallest tried: a smaller one may be better."),
    ],
)
def test_best_rate_at_the_edge_of_the_search_is_noted(
    losses: list[float], chosen: float, warning: str, tmp_path: Path
) -> None:
    runs = {"plain": [([0.5], 0.4)], "better": [([0.5], 0.3)]}
    losses_by_rate = {"better": dict(zip((0.01, 0.02, 0.04), losses, strict=True))}
    results = collected(tmp_path, two_variants(seeds=(0,)), runs, losses_by_rate)
    better = results["variants"]["better"]
    assert better["recipe"]["schedule.learning_rate"] == chosen
    assert better["lr_search_results"]["0.01"] == losses[0]
    assert better["lr_search_results"]["0.04"] == (None if math.isinf(losses[2]) else losses[2])
    warnings = [f"- The best learning rate of better, {warning}"] if warning else []
    assert notes(results)[2:] == warnings


def test_variants_without_a_reference_are_compared_with_published_errors(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.409)], "better": [([0.5], 0.30)]}
    config = two_variants(
        seeds=(0,), reference={}, published={"plain": 0.4, "better": 0.142}, average=True
    )
    results = collected(tmp_path, config, runs, better=0.25)
    plain, better, average = (list(row.values())[:5] for row in table(results).values())
    assert plain == ["plain", "40%", "40.90%", "published", "+0.90 points"]
    assert better == ["better", "14.2%", "30.00%", "published", "+15.80 points"]
    assert average == ["average of 1 networks", "", "25.00%", "one network", "−5.00 points"]


def test_each_variant_is_compared_with_its_own_reference(tmp_path: Path) -> None:
    recipe = tiny.get_config("none")
    variants = {"none": recipe, "crops": recipe, "crops, color": recipe, "other": recipe}
    config = comparison(
        "Colors help",
        variants,
        seeds=(0,),
        reference={"crops": "none", "crops, color": "crops"},
    )
    errors = zip(variants, (0.4, 0.3, 0.28, 0.5), strict=True)
    results = collected(tmp_path, config, {name: [([0.5], error)] for name, error in errors})
    columns = ("error on test", "reference", DIFFERENCE, "training error, last epoch")
    assert {name: [row[column] for column in columns] for name, row in table(results).items()} == {
        "none": ["40.00%", "", "", "50.00%"],
        "crops": ["30.00%", "none", "−10.00 points", "50.00%"],
        "crops, color": ["28.00%", "crops", "−2.00 points", "50.00%"],
        "other": ["50.00%", "", "", "50.00%"],
    }


def test_omitted_variant_is_not_a_reference(tmp_path: Path) -> None:
    config = two_variants(seeds=(0,))
    config.order = ("better",)
    rows = table(collected(tmp_path, config, {"better": [([0.5], 0.3)]}))
    assert list(rows) == ["better"]
    assert list(rows["better"].values())[1:5] == ["", "30.00%", "", ""]


def test_notes_state_the_dates_of_the_runs(tmp_path: Path) -> None:
    errors = ([0.5], 0.40)
    config = two_variants()
    runs = {
        "plain": [(*errors, "2012-09-30"), (*errors, "2012-10-01")],
        "better": [(*errors, "2012-10-02"), errors],
    }
    results = collected(tmp_path, config, runs)
    assert notes(results)[1] == "- Data set none, 2 seeds, 2012-09-30 to 2012-10-02."
    runs_of_better = results["variants"]["better"]["runs"]
    assert runs_of_better["0"]["machine"] == {"date": "2012-10-02 13:45 UTC", "device": "cpu"}
    assert runs_of_better["1"]["machine"] is None


def test_the_terminal_shows_the_columns_that_fit(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.3], 0.40), ([0.5, 0.3], 0.42)],
        "better": [([0.4, 0.2], 0.30), ([0.4, 0.2], 0.33)],
    }
    results = collected(tmp_path, two_variants(), runs)
    assert format_results(results).splitlines() == [
        "better: 31.5% test error, 9.5 points less than plain",
        "",
        "  variant     test error             difference (95% CI)       from  published",
        "  plain    41.00 ± 1.41%                    +1.00 points  published        40%",
        "  better   31.50 ± 2.12%  −9.50 points (−18.47 to −0.53)      plain",
        "",
        "Hypothesis: Better is better.",
        "Data set none, 2 seeds.",
    ]
    assert "in training" in format_results(results, width=100)


def test_a_smoke_test_says_so(tmp_path: Path) -> None:
    config = two_variants(seeds=(0,), smoke=True)
    results = collected(tmp_path, config, {"plain": [([0.5], 0.4)], "better": [([0.5], 0.3)]})
    assert results["smoke"]
    assert notes(results)[0] == "- Smoke test: too short to test the hypothesis."
    assert format_results(results).startswith("Smoke test: too short to test the hypothesis\n")


def test_image_folder_is_named_without_its_path() -> None:
    config = two_variants()
    recipe = config.variants.plain
    recipe.data.dataset = "folder:/home/someone/photos"
    recipe.data.root = "/scratch/someone"
    kept = comparable(recipe)
    assert kept["data.dataset"] == "folder:photos"
    assert kept["batch_size"] == recipe.batch_size
    assert "someone" not in json.dumps(kept)
    assert "seed" not in kept


@pytest.mark.parametrize(
    "path", sorted((commands.ROOT / "results").glob("*.json")), ids=lambda path: path.stem
)
def test_published_results_have_a_table(path: Path) -> None:
    results = json.loads(path.read_text())
    assert results["format"] == 1
    rows = table(results)
    assert results["variants"].keys() <= rows.keys()
    assert all(
        rows[name]["seeds"] == str(len(v["runs"])) for name, v in results["variants"].items()
    )
    assert notes(results)[0] == f"- Hypothesis: {results['hypothesis']}."
    assert path.read_text() == to_json(results) + "\n"


def test_results_file_has_each_run_on_one_line(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.40), ([0.5], 0.42)], "better": [([],), ([0.4], 0.33)]}
    results = collected(tmp_path, two_variants(), runs)
    text = to_json(results)
    assert json.loads(text) == results
    assert text.startswith('{\n "format": 1,\n "hypothesis": "Better is better",\n')
    assert sum('"curves"' in line for line in text.splitlines()) == 4
    assert all(line.startswith('    "') for line in text.splitlines() if '"curves"' in line)
