"""The figure of an experiment: errors over the epochs, one color per variant.

Lines are means over the seeds, and bands reach from the lowest seed to the highest.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import theme
from .findings import Results, failed_seeds, finished_runs, measured, percent, title

WIDTH, HEIGHT, SIZE = 640.0, 400.0, 15.0  # pixels, and the font's at this width
LINE, LETTER = 1.2 * SIZE, 0.66 * SIZE  # of text: its height, and the width of a letter
LEFT, BOTTOM = 56.0, 50.0
MAX_POINTS = 160  # of a curve; more would only enlarge the file
MOST_LABELS = 3  # variants whose training errors have labels too


class Label(NamedTuple):
    """What stands at the right of a curve, and where the curve ends."""

    lines: list[str]
    color: str  # of the first line; the others are muted
    epoch: float
    error: float  # percent; infinite without a curve
    bold: bool = True


def draw(results: Results) -> Figure:
    """Draws the test errors of the center view, and dashed the training errors over an epoch.

    If the experiment measures epochs until a training error, draws only those, and where they
    reach it. A diamond is a published value.
    """
    figure = theme.figure(WIDTH, HEIGHT, constrained=False)
    figure.set_label(title(results))
    head = [(line, 1.25 * SIZE, theme.TEXT, "bold") for line in textwrap.wrap(title(results), 56)]
    head += [(line, 0.9 * SIZE, theme.MUTED, "normal") for line in _subtitle(results)]
    y = HEIGHT - 8
    for line, size, color, weight in head:
        style: dict[str, Any] = {"size": size, "color": color, "weight": weight, "va": "top"}
        figure.text(10 / WIDTH, y / HEIGHT, line, parse_math=False, **style)
        y -= 1.28 * size
    axes, labels = figure.add_axes((0, 0, 1, 1)), []
    for number, name in enumerate(results["variants"]):
        labels += _draw_variant(axes, results, name, theme.series(number))
    margin = 26 + LETTER * max((len(line) for label in labels for line in label.lines), default=0)
    width, height = WIDTH - LEFT - margin, y - 12 - BOTTOM
    axes.set_position((LEFT / WIDTH, BOTTOM / HEIGHT, width / WIDTH, height / HEIGHT))
    _set_axes(axes, labels, 100 * results["target_training_error"])
    _write_labels(axes, labels, axes.get_xlim()[1] / width, axes.get_ylim()[1] / height)
    return figure


def curve(variant: Results, split: str) -> np.ndarray:
    """Epochs, and the mean, lowest and highest error in percent, of the finished runs: (4, N)."""
    runs = [np.array(run["curves"][split]).T for run in finished_runs(variant)]
    if not any(run.size for run in runs):
        return np.zeros((4, 0))
    epochs = max((run[0] for run in runs if run.size), key=len)
    errors = 100 * np.array([np.interp(epochs, *run) for run in runs if run.size])
    points = np.stack([epochs, errors.mean(0), errors.min(0), errors.max(0)])
    return points[:, theme.spread(len(epochs), MAX_POINTS)]


def _subtitle(results: Results) -> list[str]:
    variants = results["variants"].values()
    seeds = max(len(variant["runs"]) for variant in variants)
    parts = [results["dataset"], f"mean and range of {seeds} seeds" if seeds > 1 else "one seed"]
    test = f"{results['split']} error by the center view; dashed: in training"
    parts.append("training error over an epoch" if results["target_training_error"] else test)
    if any(variant["published"] is not None for variant in variants):
        parts.append("◇ published")
    return textwrap.wrap(" · ".join(parts), 90)


def _draw_variant(axes: Axes, results: Results, name: str, color: str) -> list[Label]:
    """Draws the curves of a variant and what was measured; returns the labels to write."""
    variant, target = results["variants"][name], 100 * results["target_training_error"]
    train, test = curve(variant, "train"), curve(variant, "evaluation")
    if not train.size:
        return [Label([f"{name} diverges"], color, 0, math.inf)]
    epochs, errors, low, high = train if target else test
    axes.plot(epochs, errors, color=color, lw=2.6)
    if len(variant["runs"]) > 1:
        axes.fill_between(epochs, low, high, color=(color, 0.16), lw=0)
    if target:
        return [_mark_reached(axes, name, variant, target, Label([], color, *train[:2, -1]))]
    axes.plot(*train[:2], color=color, lw=1.6, ls="--")
    end, mean, published, average = (
        train[0, -1],
        measured(variant),
        variant["published"],
        variant["average"],
    )
    lines = [f"{name} diverges", failed_seeds(variant).strip()]
    labels = [Label(lines, color, end, test[1, -1] if test.size else train[1, -1])]
    if mean is not None:
        views = {f"{run['views']} views" for run in finished_runs(variant) if run["views"] > 1}
        labels = [Label([f"{name} {percent(mean)}", *views], color, end, 100 * mean)]
    if published is not None:
        labels[0].lines.append(f"published {100 * published:.4g}%")
        _mark(axes, "D", end, 100 * published, color)
    if mean is not None:
        _mark(axes, "o", end, 100 * mean, color)
    if average is not None:
        _mark(axes, "*", end, 100 * average, color)
        labels.append(Label([f"average {percent(average)}"], color, end, 100 * average))
    if len(results["variants"]) <= MOST_LABELS:
        text = f"in training {percent(train[1, -1] / 100)}"
        labels.append(Label([text], color, end, train[1, -1], bold=False))
    return labels


def _mark_reached(axes: Axes, name: str, variant: Results, target: float, end: Label) -> Label:
    """Marks where a curve reaches the target, and where it was published to; returns its label."""
    reached, published = measured(variant), variant["published"]
    missed = [f"not in {end.epoch:.3g}", *filter(None, [failed_seeds(variant).strip()])]
    lines = [name, *(missed if reached is None else [f"{reached:.1f} epochs"])]
    if published is not None:
        lines.append(f"published {published:g}")
    if published is not None and published <= end.epoch:
        _mark(axes, "D", published, target, end.color)
    if reached is not None:
        _mark(axes, "o", reached, target, end.color)
        axes.plot([reached, reached], [0, target], color=end.color, lw=1.4, ls=":")
        style: dict[str, Any] = {"color": end.color, "weight": "bold", "size": SIZE}
        axes.annotate(f"{reached:.1f}", (reached, 0), (4, 5), textcoords="offset points", **style)
    return end._replace(lines=lines)


def _mark(axes: Axes, marker: str, epoch: float, error: float, color: str) -> None:
    """A dot for what was measured, a hollow diamond for what was published, or a star."""
    style: dict[str, Any] = {
        "ms": {"o": 8, "D": 11, "*": 15}[marker],
        "mew": 2 if marker == "D" else 1,
    }
    style |= {"mfc": theme.BACKGROUND} if marker == "D" else {}
    axes.plot(epoch, error, marker, color=color, clip_on=False, zorder=4, **style)


def _set_axes(axes: Axes, labels: Sequence[Label], target: float) -> None:
    """Scales the axes so that the ends of the curves can be told apart; the starts may be cut."""
    ends = [label.error for label in labels if label.error < math.inf]
    top = min(axes.dataLim.y1 * 1.05, 2.3 * max([target, *ends]))
    top = top if top > 0 else 100
    ticks = [
        tick for tick in MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(0, top) if tick <= top
    ]
    if target:
        ticks = [*(tick for tick in ticks if abs(tick - target) > 0.07 * top), target]
        axes.axhline(target, color=theme.TEXT, lw=1.4, ls=(0, (4, 3)), zorder=1.5)
    axes.set(xlim=(0, max(label.epoch for label in labels) or 1), ylim=(0, top))
    axes.set_yticks(ticks, [f"{tick:g}%" for tick in ticks])
    axes.tick_params(labelsize=0.95 * SIZE, length=0, pad=7)
    if target:
        axes.get_yticklabels()[-1].set(color=theme.TEXT, weight="bold")
    axes.set_xlabel("epochs", size=SIZE)
    axes.grid(axis="x", visible=False)
    axes.spines["left"].set_visible(False)


def _write_labels(axes: Axes, labels: Sequence[Label], x_unit: float, unit: float) -> None:
    """Writes the labels at the right, in the order of the errors, without overlap.

    Args:
      x_unit: the epochs of a pixel.
      unit: the error of a pixel.
    """
    labels = sorted(labels, key=lambda label: label.error)
    heights = [LINE * unit * len(label.lines) for label in labels]
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    centers = [
        min(max(label.error, height / 2), top)
        for label, height in zip(labels, heights, strict=True)
    ]
    for _ in range(200):  # overlapping neighbors push each other apart
        for i in range(len(centers) - 1):
            overlap = (heights[i] + heights[i + 1]) / 2 - (centers[i + 1] - centers[i])
            centers[i + 1] += max(overlap / 2, 0)
            centers[i] = max(centers[i] - max(overlap / 2, 0), heights[i] / 2)
    for label, center, height in zip(labels, centers, heights, strict=True):
        line: dict[str, Any] = {"color": label.color, "lw": 1, "clip_on": False}
        axes.plot([label.epoch, right], [label.error] * 2, ls=":", **line)
        axes.plot([right, right + 14 * x_unit], [label.error, center], **line)
        for number, text in enumerate(label.lines):
            color = theme.MUTED if number else label.color
            weight = "bold" if label.bold and not number else "normal"
            style: dict[str, Any] = {"color": color, "weight": weight, "size": SIZE, "va": "center"}
            y = center + height / 2 - LINE * unit * (number + 0.5)
            axes.text(right + 19 * x_unit, y, text, parse_math=False, **style)
