"""Figure 1: how training went, one run over another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from . import svg

POINTS = 300  # of a curve; more would only make the page larger

Lines = Sequence[Mapping[str, Any]]


def draw(runs: Sequence[Lines]) -> list[Markup]:
    """The loss, the error and the learning rate over the epochs, as SVG, where any is logged.

    Args:
      runs: the lines of metrics.jsonl of each run.
    """
    drawings = []
    if any(runs):
        drawings += [_over_epochs(runs, "loss", "loss, nats", scale=1)]
        drawings += [_over_epochs(runs, "top1_error", "top-1 error, %", scale=100)]
    if any(_of_training(lines) for lines in runs):
        drawings.append(_rates(runs))
    return drawings


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Curves (N,) of many points as the means of at most POINTS groups of neighbors."""
    groups = min(POINTS, len(x))
    means = [[part.mean() for part in np.array_split(values, groups)] for values in (x, y)]
    return np.array(means[0]), np.array(means[1])


def _of_training(lines: Lines) -> Lines:
    return [line for line in lines if line["split"] == "train"]


def _over_epochs(runs: Sequence[Lines], what: str, label: str, scale: float) -> Markup:
    drawn = svg.figure(340, 240)
    axes = drawn.subplots()
    for number, lines in enumerate(runs):
        train = _of_training(lines)
        evaluations = [line for line in lines if line["split"] != "train"]
        for some, width in ((train, 1.1), (evaluations, 2.2)):
            if some:
                x, y = np.array([(line["epoch"], scale * line[what]) for line in some]).T
                points = thinned(x, y) if some is train else (x, y)
                marked = len(x) == 1 if some is train else len(x) <= 40
                _plot(axes, number, *points, marked=marked, linewidth=width)
    _show_zero(axes)
    axes.set(xlabel="epoch", ylabel=label)
    return svg.inline(drawn, f"{label} over the epochs")


def _rates(runs: Sequence[Lines]) -> Markup:
    drawn = svg.figure(340, 240)
    axes = drawn.subplots()
    in_steps = True
    for number, lines in enumerate(runs):
        if not (train := _of_training(lines)):
            continue
        x, y = (np.array([line[what] for line in train]) for what in ("epoch", "learning_rate"))
        in_steps &= 1 < len(set(y.tolist())) <= len(y) / 2
        kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
        _plot(axes, number, x[kept], y[kept], marked=len(x) == 1, linewidth=2)
    if in_steps:
        axes.set_yscale("log")
    _show_zero(axes, of_both=not in_steps)
    axes.set(xlabel="epoch", ylabel="learning rate")
    return svg.inline(drawn, "learning rate over the epochs")


def _plot(axes: Axes, number: int, *points: np.ndarray, marked: bool, linewidth: float) -> None:
    axes.plot(
        *points,
        color=svg.series(number),
        linestyle=svg.dash(number),
        linewidth=linewidth,
        marker="o" if marked else "",
        markersize=linewidth + 1.5,
    )


def _show_zero(axes: Axes, of_both: bool = True) -> None:
    """Lets the epochs, and what is drawn over them, begin at zero; the margins at the end stay."""
    axes.update_datalim([(0, 0)], updatey=of_both)
    axes.autoscale_view()
    axes.set_xlim(left=0)
    if of_both:
        axes.set_ylim(bottom=0)
