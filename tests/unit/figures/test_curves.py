"""The figures of experiments, on the published results and on some that the test chooses."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.figures import curves, findings, theme
from tests.support.commands import ROOT
from tests.support.finished import collected, two_variants

PUBLISHED = sorted((ROOT / "results").glob("*.json"))


def texts(svg: str) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_figures_of_the_published_results_are_current_and_legible(
    path: Path, tmp_path: Path
) -> None:
    results = json.loads(path.read_text())
    drawn = curves.draw(results)
    (svg,) = theme.write(lambda: drawn, tmp_path / "figure", ["svg"])
    assert texts(svg.read_text()) == texts(path.with_suffix(".svg").read_text())
    drawn.set_dpi(72)
    everything = [*drawn.texts, *drawn.axes[0].texts]
    boxes = [text.get_window_extent() for text in everything if text.get_text()]
    for box in boxes:  # nothing is cut
        assert box.x0 >= 0 <= box.y0
        assert box.x1 <= curves.WIDTH
        assert box.y1 <= curves.HEIGHT
    for a, b in itertools.combinations(boxes, 2):  # nor behind other text
        assert min(a.x1, b.x1) - max(a.x0, b.x0) < 2 or min(a.y1, b.y1) - max(a.y0, b.y0) < 4


def test_figure_1_shows_where_the_curves_reach_the_target() -> None:
    results = json.loads((ROOT / "results/relu_vs_tanh.json").read_text())
    drawn = curves.draw(results)
    (axes,) = drawn.axes
    assert (
        drawn.get_label() == "ReLU reaches 25% training error in 7.7 times fewer epochs than tanh"
    )
    assert {"6.0", "46.2", "published 6", "published 36"} <= {t.get_text() for t in axes.texts}
    assert "25%" in [label.get_text() for label in axes.get_yticklabels()]
    marks = {line.get_marker(): [] for line in axes.lines}
    for line in axes.lines:
        marks[line.get_marker()].append((line.get_xdata()[0], line.get_ydata()[0]))
    np.testing.assert_allclose(marks["o"], [(6.02112, 25), (46.16192, 25)])
    np.testing.assert_allclose(marks["D"], [(6, 25), (36, 25)])


def test_a_band_shows_the_range_of_the_seeds(tmp_path: Path) -> None:
    runs = {
        "plain": [([0.5, 0.4], 0.4), ([0.5, 0.2], 0.3)],
        "better": [([0.5, 0.3], 0.3), ([],)],  # the second diverges
    }
    results = collected(tmp_path, two_variants(), runs)
    plain, better = results["variants"].values()
    np.testing.assert_allclose(curves.curve(plain, "train"), [[1, 2], [50, 30], [50, 20], [50, 40]])
    np.testing.assert_allclose(curves.curve(better, "train")[1:], [[50, 30]] * 3)
    drawn = curves.draw(results)
    assert "mean and range of 2 seeds" in " ".join(text.get_text() for text in drawn.texts)
    assert len(drawn.axes[0].collections) == 2
    one_seed = collected(
        tmp_path / "one", two_variants(seeds=(0,)), {n: [r[0]] for n, r in runs.items()}
    )
    assert not curves.draw(one_seed).axes[0].collections


def test_results_without_any_finished_run_have_a_figure(tmp_path: Path) -> None:
    results = collected(tmp_path, two_variants(seeds=(0,)), {"plain": [([],)], "better": [([],)]})
    drawn = curves.draw(results)
    assert drawn.get_label() == "plain diverges; better diverges"
    assert [text.get_text() for text in drawn.axes[0].texts] == [
        "plain diverges",
        "better diverges",
    ]


@pytest.mark.parametrize(
    ("changes", "failed", "title", "label"),
    [
        ({}, ([],), "better diverges with 1 of 3 seeds", ["better diverges", "with 1 of 3 seeds"]),
        (
            {"target_training_error": 0.25},
            ([0.5, 0.4], 0.3),
            "better does not reach 25% training error in 2 epochs with 1 of 3 seeds",
            ["better", "not in 2", "with 1 of 3 seeds"],
        ),
    ],
)
def test_the_seeds_that_fail_are_counted(
    changes: dict[str, Any], failed: tuple, title: str, label: list[str], tmp_path: Path
) -> None:
    works = ([0.5, 0.2], 0.3)
    runs = {"plain": [works] * 3, "better": [works, works, failed]}
    drawn = curves.draw(collected(tmp_path, two_variants(seeds=(0, 1, 2), **changes), runs))
    assert drawn.get_label().split("; ")[1] == title
    written = [text.get_text() for text in drawn.axes[0].texts]
    assert label == written[written.index(label[0]) :][: len(label)]


def test_a_variant_that_diverges_has_a_label_inside_the_figure(tmp_path: Path) -> None:
    runs = {"plain": [([0.5, 0.2], 0.3)], "better": [([],)]}
    drawn = curves.draw(collected(tmp_path, two_variants(seeds=(0,)), runs))
    drawn.set_dpi(72)
    labels = {text.get_text(): text.get_window_extent() for text in drawn.axes[0].texts}
    assert 0 <= labels["better diverges"].y0 < labels["better diverges"].y1 < curves.HEIGHT


TARGET: dict[str, Any] = {"target_training_error": 0.25, "seeds": (0,)}


@pytest.mark.parametrize(
    ("config", "plain", "better", "averages", "title"),
    [
        ({"smoke": True}, 0.4, 0.3, {}, "Smoke test: too short to test the hypothesis"),
        ({}, 0.4, 0.3, {}, "better: 30.0% test error, 10.0 points less than plain"),
        ({}, 0.4, 0.41, {}, "better: 41.0% test error, 1.0 points more than plain"),
        ({}, 0.4, None, {}, "plain: 40.0% test error; better diverges"),
        ({"reference": {}}, 0.4, 0.0001, {}, "plain: 40.0% test error; better: 0.01% test error"),
        (
            {"reference": {}, "published": {"plain": 0.41, "better": 0.33}},
            *(0.4, 0.3, {}),
            "All 2 networks end within 3.0 points of the published test error",
        ),
        (
            {"reference": {}, "average": True},
            *(0.4, 0.3, {"plain": 0.2}),
            "The average of 1 networks has 20.0% test error, one has 40.0%",
        ),
        (
            TARGET,
            2,
            4,
            {},
            "plain reaches 25% training error in 2.0 times fewer epochs than better",
        ),
        (
            TARGET,
            3,
            2,
            {},
            "better reaches 25% training error in 1.5 times fewer epochs than plain",
        ),
        (
            TARGET,
            *(2, 9, {}),
            "plain reaches 25% training error after 2.0 epochs; "
            "better does not reach 25% training error in 5 epochs",
        ),
    ],
)
def test_the_title_states_the_finding(
    config: dict[str, Any], plain: Any, better: Any, averages: Any, title: str, tmp_path: Path
) -> None:
    """`plain` and `better` are test errors, or epochs until the target."""

    def run(number: float | None) -> tuple:
        if number is None:
            return ([],)
        if number < 1:
            return ([0.5], number)
        return ([0.5 if epoch < number else 0.2 for epoch in range(1, 6)], 0.4)

    runs = {"plain": [run(plain)], "better": [run(better)]}
    results = collected(tmp_path, two_variants(**{"seeds": (0,), **config}), runs, **averages)
    assert findings.title(results) == title


def test_a_difference_within_the_noise_is_called_so(tmp_path: Path) -> None:
    runs = {"plain": [([0.5], 0.40), ([0.5], 0.44)], "better": [([0.5], 0.41), ([0.5], 0.45)]}
    title = findings.title(collected(tmp_path, two_variants(), runs))
    assert title == "better: 43.0% test error, 1.0 points more than plain (not significant)"
