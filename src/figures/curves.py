"""The figure of an experiment: errors over the epochs, one color per variant.

Lines are means over the seeds, and bands reach from the lowest seed to the highest.
"""

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import theme
from .findings import Results, finished_runs, measured, percent, title

WIDTH, HEIGHT, SIZE = 640.0, 400.0, 15.0  # pixels, and the font's at this width
LINE, LETTER = 1.2 * SIZE, 0.66 * SIZE  # of text: its height, and the width of a letter
LEFT, BOTTOM = 56.0, 50.0
MAX_POINTS = 160  # of a curve; more would only enlarge the file
MOST_LABELS = 3  # variants whose training errors have labels too

Variant = Mapping[str, Any]


class Label(NamedTuple):
    """What stands at the right of a curve, and where the curve ends."""

    lines: tuple[str, ...]  # the first is bold
    color: str
    epoch: float
    error: float


def draw(results: Results) -> Figure:
    """Draws the test errors of the center view, and dashed the training errors over an epoch.

    If the experiment measures epochs until a training error, draws only those, and where they
    reach it. A diamond is a published value.
    """
    figure = theme.figure(WIDTH, HEIGHT, constrained=False)
    figure.set_label(title(results))
    style: dict[str, Any] = {"parse_math": False, "va": "top"}
    y = HEIGHT - 8
    for line in textwrap.wrap(title(results), 56):
        figure.text(10 / WIDTH, y / HEIGHT, line, size=1.25 * SIZE, weight="bold", **style)
        y -= 1.6 * SIZE
    for line in textwrap.wrap(_subtitle(results), 90):
        figure.text(10 / WIDTH, y / HEIGHT, line, size=0.9 * SIZE, color=theme.MUTED, **style)
        y -= 1.15 * SIZE
    labels = _labels(results)
    margin = 26 + LETTER * max((len(line) for label in labels for line in label.lines), default=0)
    width, height = WIDTH - LEFT - margin, y - 12 - BOTTOM
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, width / WIDTH, height / HEIGHT))
    _draw_axes(axes, results, labels)
    for number, variant in enumerate(results["variants"].values()):
        _draw_variant(axes, variant, theme.series(number), results["target_training_error"])
    _place(axes, labels, axes.get_xlim()[1] / width, axes.get_ylim()[1] / height)
    return figure


def curve(variant: Variant, split: str) -> np.ndarray:
    """Epochs, and the mean, lowest and highest error in percent, of the finished runs: (4, N)."""
    runs = [np.array(run["curves"][split]).T for run in finished_runs(variant)]
    runs = [run for run in runs if run.size]
    if not runs:
        return np.zeros((4, 0))
    epochs = max((run[0] for run in runs), key=len)
    errors = 100 * np.array([np.interp(epochs, *run) for run in runs])
    points = np.stack([epochs, errors.mean(0), errors.min(0), errors.max(0)])
    kept = np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_POINTS)).round().astype(int)
    return points[:, kept]


def _subtitle(results: Results) -> str:
    variants = results["variants"].values()
    seeds = max(len(variant["runs"]) for variant in variants)
    parts = [results["dataset"], f"mean and range of {seeds} seeds" if seeds > 1 else "one seed"]
    if results["target_training_error"]:
        parts.append("training error over an epoch")
    else:
        parts.append(f"{results['split']} error by the center view; dashed: in training")
    if any(variant["published"] is not None for variant in variants):
        parts.append("◇ published")
    return " · ".join(parts)


def _labels(results: Results) -> list[Label]:
    labels, target = [], results["target_training_error"]
    for number, (name, variant) in enumerate(results["variants"].items()):
        color, published, values = theme.series(number), variant["published"], measured(variant)
        train, test = curve(variant, "train"), curve(variant, "evaluation")
        if not finished_runs(variant) or not train.size:
            continue
        end, mean = train[0, -1], statistics.mean(values) if values else None
        if target:
            lines = [name, f"{mean:.1f} epochs" if mean else f"not in {end:.0f}"]
            lines += [f"published {published:g}"] if published is not None else []
            labels.append(Label(tuple(lines), color, end, train[1, -1]))
            continue
        error = mean if mean is not None else test[1, -1] / 100
        lines = [f"{name} {percent(error)}"]
        lines += [f"published {100 * published:.4g}%"] if published is not None else []
        labels.append(Label(tuple(lines), color, end, 100 * error))
        if variant["average"] is not None:
            lines = [f"average {percent(variant['average'])}"]
            labels.append(Label(tuple(lines), color, end, 100 * variant["average"]))
        if len(results["variants"]) <= MOST_LABELS:
            text = f"in training {percent(train[1, -1] / 100)}"
            labels.append(Label(("", text), color, end, train[1, -1]))
    return labels


def _draw_axes(axes: Axes, results: Results, labels: Sequence[Label]) -> None:
    target = 100 * results["target_training_error"]
    variants = results["variants"].values()
    highest = max((curve(v, "train")[1].max(initial=0) for v in variants), default=0) or 100
    top = min(1.05 * highest, 2.3 * max([target, *(label.error for label in labels)]) or 100)
    step = next(step for step in (1, 2, 5, 10, 20) if top / step <= 6 or step == 20)
    ticks = [
        tick for tick in np.arange(0, top, step) if abs(tick - target) > 0.07 * top or not target
    ]
    ticks += [target] if target else []
    axes.set(xlim=(0, max(label.epoch for label in labels) if labels else 1), ylim=(0, top))
    axes.set_yticks(ticks, [f"{tick:g}%" for tick in ticks])
    axes.tick_params(labelsize=0.95 * SIZE, length=0, pad=7)
    axes.set_xlabel("epochs", size=SIZE)
    axes.grid(axis="x", visible=False)
    axes.spines["left"].set_visible(False)
    if target:
        axes.axhline(target, color=theme.TEXT, lw=1.4, ls=(0, (4, 3)), zorder=1.5)
        tick = axes.get_yticklabels()[-1]
        tick.set(color=theme.TEXT, weight="bold")


def _draw_variant(axes: Axes, variant: Variant, color: str, target: float) -> None:
    for split in ("train",) if target else ("train", "evaluation"):
        epochs, mean, low, high = curve(variant, split)
        solid = target or split == "evaluation"
        axes.plot(epochs, mean, color=color, lw=2.6 if solid else 1.6, ls="-" if solid else "--")
        if len(variant["runs"]) > 1 and solid:
            axes.fill_between(epochs, low, high, color=(color, 0.16), lw=0)
    values, published = measured(variant), variant["published"]
    x, y = _measured_point(variant, target, statistics.mean(values) if values else None)
    if target and values:
        axes.plot([x, x], [0, y], color=color, lw=1.4, ls=":")
        text: dict[str, Any] = {"color": color, "weight": "bold", "size": SIZE}
        axes.annotate(f"{x:.1f}", (x, 0), (4, 5), textcoords="offset points", **text)
    marks: dict[str, Any] = {"color": color, "ls": "", "clip_on": False, "zorder": 4}
    if published is not None:
        point = (published, y) if target else (x, 100 * published)
        axes.plot(*point, marker="D", mfc=theme.BACKGROUND, mew=2, ms=11, **marks)
    if values:
        axes.plot(x, y, marker="o", ms=8, **marks)
    if variant["average"] is not None:
        axes.plot(x, 100 * variant["average"], marker="*", ms=15, **marks)


def _measured_point(variant: Variant, target: float, mean: float | None) -> tuple[float, float]:
    """Where the curve reaches the target, or the end with the measured error."""
    if target:
        return mean or 0.0, 100 * target
    return max((run["epochs"] for run in finished_runs(variant)), default=0), 100 * (mean or 0)


def _place(axes: Axes, labels: Sequence[Label], x_unit: float, unit: float) -> None:
    """Writes the labels at the right, from the lowest to the highest error, without overlap.

    Args:
      x_unit: the epochs of a pixel.
      unit: the error of a pixel.
    """
    labels = sorted(labels, key=lambda label: label.error)
    heights = [LINE * unit * sum(map(bool, label.lines)) for label in labels]
    centers = [max(label.error, height / 2) for label, height in zip(labels, heights, strict=True)]
    for _ in range(200):  # overlapping neighbors push each other apart
        for i in range(len(centers) - 1):
            overlap = (heights[i] + heights[i + 1]) / 2 - (centers[i + 1] - centers[i])
            centers[i + 1] += max(overlap / 2, 0)
            centers[i] = max(centers[i] - max(overlap / 2, 0), heights[i] / 2)
    right = axes.get_xlim()[1]
    for label, center, height in zip(labels, centers, heights, strict=True):
        style: dict[str, Any] = {"color": label.color, "clip_on": False}
        if label.epoch < 0.98 * right:
            axes.plot([label.epoch, right], [label.error] * 2, lw=1, ls=":", **style)
        axes.plot([right, right + 14 * x_unit], [label.error, center], lw=1, **style)
        y = center + height / 2 - LINE * unit / 2
        for number, line in enumerate(label.lines):
            if line:
                text: dict[str, Any] = {"weight": "normal" if number else "bold", "va": "center"}
                text |= {
                    "size": SIZE,
                    "color": theme.MUTED if number and label.lines[0] else label.color,
                }
                axes.annotate(
                    line,
                    (right, y),
                    (19, 0),
                    textcoords="offset points",
                    parse_math=False,
                    annotation_clip=False,
                    **text,
                )
                y -= LINE * unit
