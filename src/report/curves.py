"""Figure 1: how training went, one run over another."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from src.report import svg

POINTS = 300  # of a curve; more would only make the page larger

Lines = Sequence[Mapping[str, Any]]


def draw(runs: Sequence[Lines]) -> list[Markup]:
    """The loss, the error and the learning rate over the epochs, as SVG.

    Args:
      runs: the lines of metrics.jsonl of each run.
    """
    drawings = []
    for what, label in (("loss", "loss, nats"), ("top1_error", "top-1 error, %")):
        drawn = svg.figure(340, 240)
        axes = drawn.subplots()
        for number, lines in enumerate(runs):
            _curve(axes, lines, what, svg.series(number), scale=100 if "error" in what else 1)
        axes.set(xlabel="epoch", ylabel=label)
        axes.set_ylim(bottom=0)
        drawings.append(svg.inline(drawn, f"{label} over the epochs"))
    return [*drawings, _rates(runs)]


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Curves (N,) of many points as the means of at most POINTS groups of neighbours."""
    groups = min(POINTS, len(x))
    means = [[part.mean() for part in np.array_split(values, groups)] for values in (x, y)]
    return np.array(means[0]), np.array(means[1])


def _curve(axes: Axes, lines: Lines, what: str, colour: str, scale: float) -> None:
    for is_train in (True, False):
        points = [
            (line["epoch"], scale * line[what])
            for line in lines
            if (line["split"] == "train") == is_train
        ]
        if not points:
            continue
        x, y = np.array(points).T
        if is_train:
            axes.plot(*thinned(x, y), color=colour, alpha=0.45, linewidth=1)
        else:
            marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(x) <= 40 else {}
            axes.plot(x, y, color=colour, linewidth=2, **marker)


def _rates(runs: Sequence[Lines]) -> Markup:
    drawn = svg.figure(340, 240)
    axes = drawn.subplots()
    in_steps = True
    for number, lines in enumerate(runs):
        train = [line for line in lines if line["split"] == "train"]
        if not train:
            continue
        x, y = (np.array([line[what] for line in train]) for what in ("epoch", "learning_rate"))
        in_steps &= 1 < len(set(y.tolist())) <= len(y) / 2
        kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
        axes.plot(x[kept], y[kept], color=svg.series(number), linewidth=2)
    if in_steps:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="epoch", ylabel="learning rate")
    return svg.inline(drawn, "learning rate over the epochs")
