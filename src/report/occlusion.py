"""Where the network looks: how much its probability falls when a square of the image is hidden."""

import itertools
from typing import Any

import matplotlib
import numpy as np

from .images import photo
from .run import Run

NUM_IMAGES = 8
GRID = 9  # positions of the square, in each direction


def section(run: Run) -> list[dict[str, Any]]:
    """Images, each with a heat map: how much the probability falls when a place is hidden."""
    sample = run.sample(run.data.eval_split, NUM_IMAGES)
    mean = run.data.statistics.mean.round().astype(np.uint8)
    maps, values = [], []
    for pixels in sample.pixels:
        squares = _squares(len(pixels))
        hidden = pixels[None].repeat(len(squares), axis=0)
        for copy, square in zip(hidden, squares, strict=True):
            copy[square] = mean[square]
        p, *others = run.classifier(np.concatenate([pixels[None], hidden]), views=1)
        best = p.argmax()
        after = np.array([other[best] for other in others])
        maps.append(photo(_draw(pixels, squares, p[best] - after)))
        values.append({"name": run.class_names[best], "before": p[best], "after": after.min()})
    return run.photos(sample, map=maps, predicted=values)


def _squares(size: int) -> list[tuple[slice, slice]]:
    """The squares of a quarter of an image's side."""
    side = size // 4
    parts = [slice(start, start + side) for start in np.linspace(0, size - side, GRID, dtype=int)]
    return list(itertools.product(parts, parts))


def _draw(pixels: np.ndarray, squares: list[tuple[slice, slice]], falls: np.ndarray) -> np.ndarray:
    """Colors each pixel by the mean fall of the squares that hide it, over the gray image."""
    total, count = np.zeros((2, *pixels.shape[:2]))
    for square, fall in zip(squares, falls, strict=True):
        total[square] += max(fall, 0)
        count[square] += 1
    heat = total / count / max((total / count).max(), 1e-9)
    colors = matplotlib.colormaps["magma"](heat, bytes=True)[..., :3]
    return (0.4 * pixels.mean(axis=2, keepdims=True) + 0.6 * colors).astype(np.uint8)
