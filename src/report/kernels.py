"""Figure 3: the kernels of the first layer beside the initial ones, and how colorful they are."""

from typing import Any

import numpy as np
from markupsafe import Markup

from ..figures import theme
from ..writers.pictures import kernel_tiles, mosaic
from .images import png

SAME = 0.95  # cosine: a change of a third of a kernel's size, which the eye does not see
RANDOM_COLORFULNESS = 2 / 3  # expected of independent weights: two of three directions


def colorfulness(kernels: np.ndarray) -> np.ndarray:
    """The share of a kernel's energy that is orthogonal to gray, 0 to 1.

    A kernel w has at each position a vector of weights for red, green and blue. Its component along
    (1, 1, 1)/√3 responds to brightness, the rest to color: Σ |w − w̄|² / Σ |w|², where w̄ is the
    mean over red, green and blue at each position.

    Args:
      kernels: (H, W, 3, maps).

    Returns:
      (maps,); 0 for a kernel of zeros.
    """
    gray = kernels.mean(axis=2, keepdims=True)
    energy = np.square(kernels).sum(axis=(0, 1, 2))
    color = np.square(kernels - gray).sum(axis=(0, 1, 2))
    return np.divide(color, energy, out=np.zeros_like(energy), where=energy > 0)


def probability_of_superiority(a: np.ndarray, b: np.ndarray) -> float:
    """The probability that a value of `b` is larger than one of `a`; ties count one half."""
    return float((np.sign(b[:, None] - a[None]) / 2 + 0.5).mean())


def similarity(kernels: np.ndarray, initial: np.ndarray) -> float:
    """The median cosine between a kernel and its initial one; both are (towers, H, W, 3, maps)."""
    a, b = (np.moveaxis(x, -1, 1).reshape(len(x), x.shape[-1], -1) for x in (kernels, initial))
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(np.median((a * b).sum(axis=-1) / np.maximum(norms, 1e-30)))


def section(kernels: np.ndarray, initial: np.ndarray | None) -> dict[str, Any] | None:
    """Each tower's kernels (towers, H, W, 3, maps) as images, and how colorful they are.

    Args:
      kernels: of the trained network.
      initial: those before the first step, if known; each is drawn beside the trained kernel.

    Returns:
      None if the first layer is locally connected, with different kernels at each position.
    """
    if kernels.shape[3] != 3:
        return None
    measured = [colorfulness(tower.astype(np.float64)) for tower in kernels]
    drawn = [kernels] if initial is None else [kernels, initial]
    towers = []
    for values, *versions in zip(measured, *drawn, strict=True):
        tiles = np.stack([kernel_tiles(version) for version in versions], axis=1)
        pictures = [png(mosaic(tile, columns=2, scale=1, gap=1)) for tile in tiles]
        images = [(image, f"{value:.2f}") for image, value in zip(pictures, values, strict=True)]
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        towers.append({"images": images, "low": low, "median": median, "high": high})
    return {
        "towers": towers,
        "histogram": _histogram(measured),
        "probability": probability_of_superiority(*measured) if len(measured) == 2 else None,
        "size": kernels.shape[1],
        "similarity": None if initial is None else similarity(kernels, initial),
        "same": SAME,
    }


def _histogram(measured: list[np.ndarray]) -> Markup:
    figure = theme.figure(340, 100 + 70 * len(measured))
    rows = figure.subplots(len(measured), sharex=True, sharey=True, squeeze=False)[:, 0]
    for number, (axes, values) in enumerate(zip(rows, measured, strict=True)):
        axes.hist(values, bins=20, range=(0, 1), color=theme.series(number), alpha=0.8)
        axes.axvline(RANDOM_COLORFULNESS, color=theme.MUTED, linestyle=":")
        axes.set_ylabel("kernels" if len(measured) == 1 else f"tower {number + 1}")
    rows[-1].set_xlim(0, 1)
    rows[-1].set_xlabel("colorfulness\n(dotted: expected of random weights)")
    return theme.inline(figure, "Histogram of the kernels' colorfulness", max_width=480)
