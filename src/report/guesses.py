"""Figure 4, left, and what else the network says of the images it is evaluated with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.patches import Rectangle

from src.report import svg
from src.report.pictures import photo
from src.report.run import Run

SHOWN = 8  # examples, and mistakes
CLASSES = 20  # that a confusion matrix has room for


@dataclass(frozen=True)
class Guesses:
    """The most probable class of every image of the evaluation split, in its order."""

    labels: np.ndarray  # int32 (N,)
    guesses: np.ndarray  # int32 (N,)
    probabilities: np.ndarray  # float32 (N,), of the guesses


def guess(run: Run) -> Guesses:
    """Looks at the centre of every image of the evaluation split."""
    split = run.data.eval_split
    found = []
    for batch in run.batches(split, np.arange(run.data.num_examples[split]), "evaluate"):
        p = run.classifier(batch.pixels, views=1)
        found.append((batch.labels, p.argmax(axis=1).astype(np.int32), p.max(axis=1)))
    return Guesses(*(np.concatenate(part) for part in zip(*found, strict=True)))


def confusion(labels: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """How many images of each class (row) were taken for which (column): int (classes, classes)."""
    pairs = labels.astype(np.int64) * classes + guesses
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def most_confused(counts: np.ndarray, most: int = CLASSES) -> np.ndarray:
    """The classes that are taken for each other most often, ascending: int (at most `most`,)."""
    if len(counts) <= most:
        return np.arange(len(counts))
    chosen: dict[int, None] = {}
    for pair in mistaken(counts):
        if len(chosen.keys() | set(pair)) <= most:
            chosen |= dict.fromkeys(pair)
    return np.array(sorted(chosen), int)


def mistaken(counts: np.ndarray) -> list[tuple[int, int]]:
    """(class, what it was taken for), the most frequent mistake first; at most 1,000."""
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


def mistakes(run: Run, found: Guesses) -> list[dict[str, Any]]:
    """The wrong guesses that the network was surest of."""
    wrong = np.flatnonzero(found.guesses != found.labels)
    worst = wrong[np.argsort(-found.probabilities[wrong], kind="stable")][:SHOWN]
    if not len(worst):
        return []
    return [
        {
            "image": photo(pixels),
            "label": run.class_names[label],
            "guess": run.class_names[found.guesses[i]],
            "percent": 100 * float(found.probabilities[i]),
        }
        for i, pixels, label in zip(*run.read(run.data.eval_split, worst), strict=True)
    ]


def matrix(run: Run, found: Guesses) -> dict[str, Any]:
    """The confusion matrix of all classes, or of the most confused, and the worst pairs."""
    counts = confusion(found.labels, found.guesses, len(run.class_names))
    chosen = most_confused(counts)
    pairs = [
        {
            "label": run.class_names[a],
            "guess": run.class_names[b],
            "count": int(counts[a, b]),
            "of": int(counts[a].sum()),
        }
        for a, b in mistaken(counts)[:6]
    ]
    drawn = _heat(counts, chosen, run.class_names) if len(chosen) else None
    return {"drawn": drawn, "shown": len(chosen), "pairs": pairs}


def _heat(counts: np.ndarray, chosen: np.ndarray, names: list[str]) -> Markup:
    side = len(chosen)
    cell = 30 if side <= 12 else 22
    drawn = svg.figure(cell * side + 100, cell * side + 80)
    axes = drawn.subplots()
    totals = np.maximum(counts.sum(axis=1), 1)
    for row, a in enumerate(chosen):
        for column, b in enumerate(chosen):
            if not counts[a, b]:
                continue
            share, colour = counts[a, b] / totals[a], svg.series(0) if a == b else svg.ACCENT
            square = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=share)
            axes.add_patch(square)
            ink = svg.PAPER if share > 0.6 else svg.INK
            text: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "size": 8}
            axes.text(column, row, f"{counts[a, b]}", **text)
    labels = [name if len(name) <= 16 else f"{name[:15]}…" for name in (names[i] for i in chosen)]
    words: dict[str, Any] = {"fontsize": 9, "parse_math": False}  # a dollar is a dollar
    axes.set_xticks(range(side), labels, rotation=90, **words)
    axes.set_yticks(range(side), labels, **words)
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="taken for", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return svg.inline(drawn, "Confusion matrix", widest=1.4 * cell * side + 140)
