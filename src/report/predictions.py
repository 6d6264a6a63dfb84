"""Figure 4, left: what the network predicts for the evaluation images, and its mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.patches import Rectangle

from . import svg
from .images import photo
from .run import Run

SHOWN = 8  # examples, and mistakes


class Viewport(NamedTuple):
    """The space that a device has for a confusion matrix."""

    device: str
    classes: int  # at most
    width: int  # of all columns, in pixels
    letters: int  # of a class name, at most


SCREEN, PHONE = Viewport("screen", 20, 600, 16), Viewport("phone", 10, 240, 12)


@dataclass(frozen=True)
class Predictions:
    """The most probable class of every image of the evaluation split, in its order."""

    labels: np.ndarray  # int32 (N,)
    classes: np.ndarray  # int32 (N,)
    probabilities: np.ndarray  # float32 (N,), of the predicted classes

    @property
    def error(self) -> float:
        return float((self.classes != self.labels).mean())


def predict(run: Run) -> Predictions:
    """Classifies the center crop of every image of the evaluation split."""
    split = run.data.eval_split
    parts = []
    for batch in run.batches(split, np.arange(run.data.num_examples[split]), "evaluate"):
        p = run.classifier(batch.pixels, views=1)
        parts.append((batch.labels, p.argmax(axis=1).astype(np.int32), p.max(axis=1)))
    return Predictions(*map(np.concatenate, zip(*parts, strict=True)))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The number of images by true (row) and predicted class: int (classes, classes)."""
    pairs = labels.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def most_confused(counts: np.ndarray, most: int = SCREEN.classes) -> np.ndarray:
    """The classes that are confused most often, ascending: int (at most `most`,)."""
    if len(counts) <= most:
        return np.arange(len(counts))
    chosen: dict[int, None] = {}
    for pair in frequent_mistakes(counts):
        if len(chosen.keys() | set(pair)) <= most:
            chosen |= dict.fromkeys(pair)
    return np.array(sorted(chosen), int)


def frequent_mistakes(counts: np.ndarray) -> list[tuple[int, int]]:
    """(class, predicted class) of the mistakes, the most frequent first; at most 1,000."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:1000]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(int(a), int(b)) for a, b in pairs if wrong[a, b]]


def examples(run: Run) -> list[dict[str, Any]]:
    """Images drawn at random with the five most probable classes."""
    some = run.draw(run.data.eval_split, SHOWN)
    probabilities = run.classifier(some.pixels, views=1)
    return [
        {
            "image": photo(pixels),
            "label": run.class_names[label],
            "bars": [
                {"name": run.class_names[i], "percent": 100 * float(p[i]), "true": i == label}
                for i in np.argsort(-p, kind="stable")[:5]
            ],
        }
        for pixels, label, p in zip(some.pixels, some.labels, probabilities, strict=True)
    ]


def mistakes(run: Run, predictions: Predictions) -> list[dict[str, Any]]:
    """The wrong predictions with the highest probability."""
    wrong = np.flatnonzero(predictions.classes != predictions.labels)
    worst = wrong[np.argsort(-predictions.probabilities[wrong], kind="stable")][:SHOWN]
    if not len(worst):
        return []
    return [
        {
            "image": photo(pixels),
            "label": run.class_names[label],
            "predicted": run.class_names[predictions.classes[i]],
            "percent": 100 * float(predictions.probabilities[i]),
        }
        for i, pixels, label in zip(*run.read(run.data.eval_split, worst), strict=True)
    ]


def matrix(run: Run, predictions: Predictions) -> dict[str, Any]:
    """The confusion matrix of all classes, or of the most confused, and the worst pairs.

    Twice: for a screen, and of fewer classes for a phone.
    """
    counts = confusion(predictions.labels, predictions.classes, len(run.class_names))
    pairs = [
        {
            "label": run.class_names[a],
            "predicted": run.class_names[b],
            "count": int(counts[a, b]),
            "of": int(counts[a].sum()),
        }
        for a, b in frequent_mistakes(counts)[:6]
    ]
    drawings = []
    for viewport in (SCREEN, PHONE):
        chosen = most_confused(counts, viewport.classes)
        if len(chosen):
            drawn = _heat(counts, chosen, run.class_names, viewport)
            drawings.append({"drawn": drawn, "shown": len(chosen)})
    return {"drawings": drawings, "pairs": pairs}


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Names cut in the middle to at most so many letters; where that makes two one, at the start.

    What is cut off at the start are words that all have.
    """
    short = [_elided(name, most) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    start = commonprefix(names).rfind(" ") + 1  # noqa: RUF071 (they are no paths)
    return [f"…{_elided(name[start:], most - 1)}" for name in names]


def _elided(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def _heat(counts: np.ndarray, chosen: np.ndarray, names: list[str], viewport: Viewport) -> Markup:
    side = len(chosen)
    labels = shortened([names[i] for i in chosen], viewport.letters)
    cells = min(40 * side, viewport.width)
    width = cells + 40 + 6.5 * max(map(len, labels))
    drawn = svg.figure(width, width)
    axes = drawn.subplots()
    totals = np.maximum(counts.sum(axis=1), 1)
    for row, a in enumerate(chosen):
        for column, b in enumerate(chosen):
            if not counts[a, b]:
                continue
            share, color = counts[a, b] / totals[a], svg.series(0) if a == b else svg.ACCENT
            square = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=share)
            axes.add_patch(square)
            ink = svg.PAPER if share > 0.6 else svg.INK
            text: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "size": 9.5}
            axes.text(column, row, f"{counts[a, b]}", **text)
    words: dict[str, Any] = {"fontsize": 10, "parse_math": False}  # a dollar is a dollar
    axes.set_xticks(range(side), labels, rotation=90, **words)
    axes.set_yticks(range(side), labels, **words)
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    says = f"Confusion matrix of {side} classes, for a {viewport.device}"
    return svg.inline(drawn, says, widest=1.4 * width)
