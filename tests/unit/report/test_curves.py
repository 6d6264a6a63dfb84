import re
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from src.figures import theme
from src.report import curves


def test_long_curves_are_replaced_by_means():
    x, y = curves.thin(np.arange(3000.0), np.arange(3000.0) ** 2)
    assert len(x) == curves.MAX_POINTS
    np.testing.assert_allclose(x, np.arange(4.5, 3000, 10))
    np.testing.assert_allclose(y, [(np.arange(i, i + 10) ** 2).mean() for i in range(0, 3000, 10)])


def lines(splits: str, rates: list[float]) -> list[dict[str, Any]]:
    result = []
    for epoch, rate in enumerate(rates, 1):
        line = {"epoch": epoch, "loss": 2.0, "top1_error": 0.5, "learning_rate": rate}
        result += [{**line, "split": split} for split in splits.split()]
    return result


def test_only_logged_values_are_drawn():
    assert curves.draw([[]]) == []
    assert len(curves.draw([[], lines("test", [0.1])])) == 2


def test_the_curves_of_one_run_have_names_that_do_not_overlap():
    with matplotlib.rc_context(theme.STYLE):
        loss, error, rate = curves.draw([lines("train test", [0.1, 0.1])])
        two_runs = curves.draw([lines("train test", [0.1, 0.1])] * 2)
    for panel in (loss, error):
        places = {
            name: float(re.search(rf'y="([0-9.]+)"[^<>]*>{name}<', panel)[1])
            for name in ("train", "test")
        }
        assert abs(places["train"] - places["test"]) > 6
    assert ">train<" not in rate
    assert not any(">train<" in panel for panel in two_runs)  # the legend names the runs


def test_axes_start_at_zero_and_keep_a_margin_at_the_end():
    axes = Figure().subplots()
    axes.plot([2.0, 3.0], [100.0, 100.0])
    curves._start_at_zero(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert (left, bottom) == (0, 0)
    assert right > 3
    assert top > 101


def test_a_curve_of_one_point_has_a_marker():
    single, pair = (curves.draw([lines("train", rates)]) for rates in ([0.1], [0.1, 0.1]))
    assert [panel.count("<use") for panel in single] > [panel.count("<use") for panel in pair]


def test_runs_of_the_same_color_have_different_dashes():
    styles = {(theme.series(number), theme.dash(number)) for number in range(18)}
    assert len(styles) == 18


@pytest.mark.parametrize(
    ("runs", "decades"),
    [
        ([lines("train", [0.1])], False),
        ([lines("train test", [0.1] * 3 + [0.01] * 3)], True),
        ([lines("train", [0.03, 0.02, 0.01, 0.0])], False),
    ],
)
def test_the_learning_rate_axis_is_logarithmic_only_for_stepwise_schedules(runs, decades):
    loss, error, rate = curves.draw(runs)
    assert loss.count("<svg") == error.count("<svg") == 1
    assert "loss, nats" in loss
    assert (r"10^{-2}" in rate) == decades
    assert (">0.00" in rate) == (not decades)
    ticks = re.findall(r">(0\.\d+)</text>", rate)
    assert len(ticks) == len(set(ticks))
