"""Figure 3: what the first layer looks for, and how much color matters to it."""

from typing import Any

import numpy as np
from markupsafe import Markup

from . import svg
from .images import png

RANDOM_KERNEL = 2 / 3  # the expected colorfulness of independent weights: two of three directions


def colorfulness(kernels: np.ndarray) -> np.ndarray:
    """The share of a kernel's energy that is orthogonal to gray, 0 to 1.

    A kernel w has at each position a vector of weights for red, green and blue. Its part along
    (1, 1, 1)/√3 answers to brightness, and what is left to color: Σ |w − w̄|² / Σ |w|², where w̄ is
    the mean over red, green and blue at each position.

    Args:
      kernels: (H, W, 3, maps).

    Returns:
      (maps,); 0 for a kernel of zeros.
    """
    gray = kernels.mean(axis=2, keepdims=True)
    energy = np.square(kernels).sum(axis=(0, 1, 2))
    color = np.square(kernels - gray).sum(axis=(0, 1, 2))
    return np.divide(color, energy, out=np.zeros_like(energy), where=energy > 0)


def chance_of_more(one: np.ndarray, other: np.ndarray) -> float:
    """How likely a value of `other` is larger than one of `one`; ties count one half."""
    return float((np.sign(other[:, None] - one[None]) / 2 + 0.5).mean())


def show(kernels: np.ndarray) -> dict[str, Any] | None:
    """Each tower's kernels (towers, H, W, 3, maps) as images, and how colorful they are.

    None where the first layer is locally connected: it has kernels of its own at each position.
    """
    if kernels.shape[3] != 3:
        return None
    measured = [colorfulness(tower.astype(np.float64)) for tower in kernels]
    towers = []
    for tower, colors in zip(kernels, measured, strict=True):
        tiles = np.moveaxis(tower, -1, 0)
        largest = np.abs(tiles).max(axis=(1, 2, 3), keepdims=True)
        tiles = (127.5 + 127.5 * tiles / np.maximum(largest, 1e-30)).round().astype(np.uint8)
        images = [(png(t), f"{c:.2f}") for t, c in zip(tiles, colors, strict=True)]
        low, middle, high = np.quantile(colors, [0.25, 0.5, 0.75])
        towers.append({"images": images, "low": low, "median": middle, "high": high})
    chance = chance_of_more(*measured) if len(measured) == 2 else None
    return {
        "towers": towers,
        "histogram": _histogram(measured),
        "chance": chance,
        "size": kernels.shape[1],
    }


def _histogram(measured: list[np.ndarray]) -> Markup:
    drawn = svg.figure(340, 100 + 70 * len(measured))
    rows = drawn.subplots(len(measured), sharex=True, sharey=True, squeeze=False)[:, 0]
    for number, (axes, colors) in enumerate(zip(rows, measured, strict=True)):
        axes.hist(colors, bins=20, range=(0, 1), color=svg.series(number), alpha=0.8)
        axes.axvline(RANDOM_KERNEL, color=svg.QUIET, linestyle=":")
        axes.set_ylabel("kernels" if len(measured) == 1 else f"tower {number + 1}")
    rows[-1].set_xlim(0, 1)
    rows[-1].set_xlabel("colorfulness\n(dotted: expected of random weights)")
    return svg.inline(drawn, "How many kernels are how colorful", widest=480)
