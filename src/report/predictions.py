"""Figure 4, left: predictions for evaluation images; the errors, by class and by confusion."""

from collections.abc import Sequence
from os.path import commonprefix
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.patches import Rectangle

from ..figures import theme
from ..inference.evaluation import describe_classes
from ..writers.pictures import FAINTEST
from .run import Run

NUM_IMAGES = 8  # of examples, and of mistakes
MAX_CLASSES = 20  # in a confusion matrix, or in the list of errors


class Viewport(NamedTuple):
    """The space of a device for a confusion matrix."""

    device: str
    max_classes: int
    width: int  # of all columns, in pixels
    max_letters: int  # of a class name


SCREEN, PHONE = Viewport("screen", MAX_CLASSES, 600, 16), Viewport("phone", 10, 240, 12)


class Predictions(NamedTuple):
    """The most probable class of every image of the evaluation split, in its order."""

    labels: np.ndarray  # int32 (N,)
    classes: np.ndarray  # int32 (N,)
    probabilities: np.ndarray  # float32 (N,), of the predicted classes


def predict(run: Run) -> Predictions:
    """Classifies the center crop of every image of the evaluation split."""
    split = run.data.eval_split
    parts = []
    for batch in run.batches(split, np.arange(run.data.num_examples[split]), "evaluate"):
        p = run.classifier(batch.pixels, views=1)
        parts.append((batch.labels, p.argmax(axis=1).astype(np.int32), p.max(axis=1)))
    return Predictions(*map(np.concatenate, zip(*parts, strict=True)))


def frequent_mistakes(counts: np.ndarray) -> list[tuple[int, int]]:
    """(class, predicted class) of the mistakes, the most frequent first; at most 1,000."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:1000]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(int(a), int(b)) for a, b in pairs if wrong[a, b]]


def examples(run: Run) -> list[dict[str, Any]]:
    """Random images with their five most probable classes."""
    sample = run.sample(run.data.eval_split, NUM_IMAGES)
    bars = [
        [
            {"name": run.class_names[i], "percent": 100 * float(p[i]), "true": i == label}
            for i in np.argsort(-p, kind="stable")[:5]
        ]
        for p, label in zip(run.classifier(sample.pixels, views=1), sample.labels, strict=True)
    ]
    return run.photos(sample, bars=bars)


def mistakes(run: Run, predictions: Predictions) -> list[dict[str, Any]]:
    """The wrong predictions with the highest probability."""
    wrong = np.flatnonzero(predictions.classes != predictions.labels)
    worst = wrong[np.argsort(-predictions.probabilities[wrong], kind="stable")][:NUM_IMAGES]
    if not len(worst):
        return []
    return run.photos(
        run.read(run.data.eval_split, worst),
        predicted=[run.class_names[i] for i in predictions.classes[worst]],
        percent=(100 * predictions.probabilities[worst].astype(float)).tolist(),
    )


def errors(names: list[str], predictions: Predictions) -> dict[str, Any]:
    """The confusion matrix, the most frequent mistakes, and the error of each class.

    There are two drawings of the matrix, for a screen and for a phone, where all classes fit.
    Where they do not fit, more of the most frequent mistakes are listed instead.
    """
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (predictions.labels, predictions.classes), 1)
    pairs = [
        {"label": names[a], "predicted": names[b], "count": counts[a, b], "total": counts[a].sum()}
        for a, b in frequent_mistakes(counts)[: 6 if len(names) <= MAX_CLASSES else MAX_CLASSES]
    ]
    classes = [row for row in describe_classes(counts, names) if row["examples"]]
    classes.sort(key=lambda row: -row["top1_error"])
    viewports = [viewport for viewport in (SCREEN, PHONE) if len(names) <= viewport.max_classes]
    return {
        "drawings": [_draw_matrix(counts, names, viewport) for viewport in viewports],
        "pairs": pairs,
        "classes": classes[:MAX_CLASSES],
    }


def shorten(names: Sequence[str], max_letters: int) -> list[str]:
    """Cuts names in the middle to at most `max_letters`.

    Where two names would become equal, the words that all names start with are cut instead.
    """
    short = [_elide(name, max_letters) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    start = commonprefix(names).rfind(" ") + 1  # noqa: RUF071 (they are no paths)
    return [f"…{_elide(name[start:], max_letters - 1)}" for name in names]


def _elide(name: str, max_letters: int) -> str:
    if len(name) <= max_letters:
        return name
    end = (max_letters - 1) // 2
    return f"{name[: max_letters - 1 - end]}…{name[-end:]}"


def _draw_matrix(counts: np.ndarray, names: list[str], viewport: Viewport) -> Markup:
    """The shares of each true class in percent; every mistake has a color and a number."""
    size, labels = len(names), shorten(names, viewport.max_letters)
    width = min(40 * size, viewport.width) + 40 + 6.5 * max(map(len, labels))
    figure = theme.figure(width, width)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, column in np.argwhere(counts):
        share, is_mistake = shares[row, column], row != column
        color = theme.ACCENT if is_mistake else theme.series(0)
        opacity = FAINTEST + (1 - FAINTEST) * share if is_mistake else share
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, alpha=opacity))
        text: dict[str, Any] = {"ha": "center", "va": "center", "size": 9.5}
        text["color"] = theme.BACKGROUND if opacity > 0.6 else theme.TEXT
        axes.text(column, row, _percent(share), **text)
    style: dict[str, Any] = {"fontsize": 10, "parse_math": False}  # a dollar sign is no formula
    axes.set_xticks(range(size), labels, rotation=90, **style)
    axes.set_yticks(range(size), labels, **style)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    description = f"Confusion matrix of {size} classes, for a {viewport.device}"
    return theme.inline(figure, description, max_width=1.4 * width)


def _percent(share: float) -> str:
    """A share in whole percents; one mistake is not rounded away."""
    if 0.995 <= share < 1:
        return ">99"
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"
