"""The figure of an experiment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .analysis import count_finished


def draw_figure(found: Mapping[str, Any], path: Path) -> None:
    """The error over the epochs, a color a variant; test errors whole, training errors dashed.

    Training errors are means over an epoch. Test errors are by one view, as while training.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    target = found["target_training_error"]
    styles = {"train": "-"} if target else {"evaluation": "-", "train": "--"}
    for index, (name, variant) in enumerate(found["variants"].items()):
        for split, style in styles.items():
            for number, run in enumerate(variant["runs"].values()):
                curve = run["curves"][split]
                epochs, errors = zip(*curve, strict=True) if curve else ((), ())
                label = name if number == 0 and style == "-" else None
                width = 1.8 if style == "-" else 0.8
                percent = [100 * error for error in errors]
                axes.plot(epochs, percent, style, color=f"C{index}", label=label, lw=width)
        if variant["average"] is not None:
            label = f"average of {count_finished(variant)} networks"
            axes.axhline(100 * variant["average"], ls=":", color=f"C{index}", label=label)
    if target:
        axes.axhline(100 * target, color="gray", lw=0.8)
    of_split = f"error on {found['split']} by the center view, %"
    axes.set(
        xlabel="epoch",
        ylabel="training error over an epoch, %"
        if target
        else f"{of_split}\n(dashed: in training, over an epoch)",
    )
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
