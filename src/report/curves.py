"""Figure 1: the training curves of one or several runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from ..figures import theme

MAX_POINTS = 300  # per curve; more would only enlarge the page
WIDTH, HEIGHT = 340, 240  # pixels

Lines = Sequence[Mapping[str, Any]]  # of metrics.jsonl


def draw(runs: Sequence[Lines]) -> list[Markup]:
    """The logged ones of loss, error and learning rate over the epochs, as SVG elements.

    Args:
      runs: the lines of metrics.jsonl of each run.
    """
    drawings = []
    if any(runs):
        drawings.append(_draw_metric(runs, "loss", "loss, nats", scale=1))
        drawings.append(_draw_metric(runs, "top1_error", "top-1 error, %", scale=100))
    if any(line["split"] == "train" for lines in runs for line in lines):
        drawings.append(_draw_learning_rate(runs))
    return drawings


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replaces long curves (N,) by the means of MAX_POINTS groups of consecutive points."""
    if len(x) <= MAX_POINTS:
        return x, y
    means = [[group.mean() for group in np.array_split(values, MAX_POINTS)] for values in (x, y)]
    return np.array(means[0]), np.array(means[1])


def _values(lines: Lines, field: str, *, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """The epochs and a field, (N,) each, of the training or of the evaluations."""
    chosen = [line for line in lines if (line["split"] == "train") == training]
    return np.array([line["epoch"] for line in chosen]), np.array([line[field] for line in chosen])


def _draw_metric(runs: Sequence[Lines], field: str, label: str, scale: float) -> Markup:
    figure = theme.figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for number, lines in enumerate(runs):
        x, y = thin(*_values(lines, field, training=True))
        _plot(axes, number, x, scale * y, marked=len(x) == 1, linewidth=1.1)
        x, y = _values(lines, field, training=False)
        _plot(axes, number, x, scale * y, marked=len(x) <= 40, linewidth=2.2)
    if len(runs) == 1:
        _name_ends(axes, {line["split"]: (line["epoch"], scale * line[field]) for line in runs[0]})
    _start_at_zero(axes)
    axes.set(xlabel="epoch", ylabel=label)
    return theme.inline(figure, f"{label} over the epochs")


def _draw_learning_rate(runs: Sequence[Lines]) -> Markup:
    figure = theme.figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    schedules = [_values(lines, "learning_rate", training=True) for lines in runs]
    for number, (x, y) in enumerate(schedules):
        kept = theme.spread(len(x), MAX_POINTS)
        _plot(axes, number, x[kept], y[kept], marked=len(x) == 1, linewidth=2)
    in_steps = all(1 < len(set(y.tolist())) <= len(y) / 2 for _, y in schedules if len(y))
    if in_steps:
        axes.set_yscale("log")
    _start_at_zero(axes, include_y=not in_steps)
    axes.set(xlabel="epoch", ylabel="learning rate")
    return theme.inline(figure, "learning rate over the epochs")


def _plot(axes: Axes, number: int, *points: np.ndarray, marked: bool, linewidth: float) -> None:
    style: Any = {"color": theme.series(number), "linestyle": theme.dash(number)}
    marker: Any = {"marker": "o" if marked else "", "markersize": linewidth + 1.5}
    axes.plot(*points, linewidth=linewidth, **style, **marker)


def _name_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Writes the name of each split beside the end of its curve, one above the other.

    The name is as thick as the curve, since there may be no room at its height.
    """
    line = 0.07 * axes.dataLim.y1  # a line of text
    place = -line / 2
    for split, (epoch, value) in sorted(ends.items(), key=lambda end: end[1][1]):
        place = max(value, place + line)
        weight = "normal" if split == "train" else "bold"
        style: Any = {"va": "center", "color": theme.series(0), "weight": weight}
        beside: Any = {"textcoords": "offset points", "annotation_clip": False}
        axes.annotate(split, (epoch, place), (6, 0), **beside, **style)
    axes.margins(x=0.16)


def _start_at_zero(axes: Axes, include_y: bool = True) -> None:
    """Starts the x axis, and the y axis where included, at zero; keeps the margin at the end."""
    axes.update_datalim([(0, 0)], updatey=include_y)
    axes.autoscale_view()
    axes.set_xlim(left=0)
    if include_y:
        axes.set_ylim(bottom=0)
