"""The figure of an experiment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .analysis import finished_runs


def draw_figure(results: Mapping[str, Any], path: Path) -> None:
    """Draws the errors over the epochs, one color per variant.

    Test errors, of the center view, are solid lines. Training errors, means over an epoch, are
    dashed. If the experiment measures epochs until a training error, only those are drawn, solid.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot(xlabel="epoch")
    target = results["target_training_error"]
    styles = {"train": "-"} if target else {"evaluation": "-", "train": "--"}
    for index, (name, variant) in enumerate(results["variants"].items()):
        color = f"C{index}"
        for split, style in styles.items():
            for number, run in enumerate(variant["runs"].values()):
                epochs = [epoch for epoch, _ in run["curves"][split]]
                percent = [100 * error for _, error in run["curves"][split]]
                label = name if number == 0 and style == "-" else None
                width = 1.8 if style == "-" else 0.8
                axes.plot(epochs, percent, style, color=color, label=label, lw=width)
        if variant["average"] is not None:
            label = f"average of {len(finished_runs(variant))} networks"
            axes.axhline(100 * variant["average"], ls=":", color=color, label=label)
    if target:
        axes.axhline(100 * target, color="gray", lw=0.8)
        axes.set_ylabel("training error over an epoch, %")
    else:
        error = f"error on {results['split']} by the center view, %"
        axes.set_ylabel(f"{error}\n(dashed: in training, over an epoch)")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
