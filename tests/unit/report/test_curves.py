from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from src.report import curves, svg


def test_curves_are_thinned_to_means():
    x, y = curves.thinned(np.arange(3000.0), np.arange(3000.0) ** 2)
    assert len(x) == curves.POINTS
    np.testing.assert_allclose(x, np.arange(4.5, 3000, 10))
    np.testing.assert_allclose(y, [(np.arange(i, i + 10) ** 2).mean() for i in range(0, 3000, 10)])


def lines(splits: str, rates: list[float]) -> list[dict[str, Any]]:
    result = []
    for epoch, rate in enumerate(rates, 1):
        line = {"epoch": epoch, "loss": 2.0, "top1_error": 0.5, "learning_rate": rate}
        result += [{**line, "split": split} for split in splits.split()]
    return result


def test_curves_of_what_is_not_logged_are_not_drawn():
    assert curves.draw([[]]) == []
    assert len(curves.draw([[], lines("test", [0.1])])) == 2


def test_curves_begin_at_zero_and_end_below_the_top():
    axes = Figure().subplots()
    axes.plot([2.0, 3.0], [100.0, 100.0])
    curves._show_zero(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert (left, bottom) == (0, 0)
    assert right > 3
    assert top > 101


def test_a_single_line_is_marked():
    one, more = (curves.draw([lines("train", rates)]) for rates in ([0.1], [0.1, 0.1]))
    assert [drawn.count("<use") for drawn in one] > [drawn.count("<use") for drawn in more]


def test_runs_of_one_color_have_other_dashes():
    told = {(svg.series(number), svg.dash(number)) for number in range(18)}
    assert len(told) == 18


@pytest.mark.parametrize(
    ("runs", "decades"),
    [
        ([lines("train", [0.1])], False),
        ([lines("train test", [0.1] * 3 + [0.01] * 3)], True),
        ([lines("train", [0.3, 0.2, 0.1, 0.0])], False),
    ],
)
def test_curves_of_runs_that_have_just_begun_and_of_rates_that_drop(runs, decades):
    loss, error, rate = curves.draw(runs)
    assert loss.count("<svg") == error.count("<svg") == 1
    assert "loss, nats" in loss
    assert (r"10^{-2}" in rate) == decades
    assert (">0.00</text>" in rate) == (not decades)
