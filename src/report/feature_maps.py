"""The output of each layer for one image, as images of each tower."""

import math
from typing import Any

import matplotlib
import numpy as np

from .images import mosaic, photo, png
from .run import Run

MAPS = 16  # of each tower, the strongest
SIDE = 56  # pixels that a map is at least shown with, about


def show(run: Run) -> dict[str, Any]:
    """The output of each layer but the last, an image for each tower."""
    example = run.draw(run.data.eval_split, 1)
    return {
        "image": photo(example.pixels[0]),
        "label": run.class_names[example.labels[0]],
        "layers": [_show_layer(run, example.pixels, name) for name in run.layers[:-1]],
    }


def _show_layer(run: Run, pixels: np.ndarray, name: str) -> dict[str, Any]:
    net = run.architecture
    output = run.classifier.features(pixels, name)[0]
    if output.shape[:-1] == (1, 1):  # maps of one position are like units
        output = output[0, 0]
    towers = np.split(output, net.towers, axis=-1)
    low, high = min(output.min(), 0), max(np.quantile(output, 0.999), 1e-30)
    count, is_maps = towers[0].shape[-1], output.ndim == 3
    return {
        "name": name,
        "images": [png(_image((tower - low) / (high - low))) for tower in towers],
        "active": [float((tower > 0).mean()) for tower in towers],
        "count": count,
        "kind": "maps" if is_maps else "units",
        "size": "×".join(map(str, towers[0].shape[:-1])),
        "pooled": name in net.convs and any(op in net.pools for op in net.convs[name].followed_by),
        "most": MAPS if is_maps and count > MAPS else 0,
    }


def _image(tower: np.ndarray) -> np.ndarray:
    """A tower's strongest maps (H, W, maps) side by side, or its units (units,) row by row."""
    if tower.ndim == 1:
        width = math.ceil(math.sqrt(8 * len(tower)))
        tiles, columns, gap = np.pad(tower, (0, -len(tower) % width)).reshape(1, -1, width), 1, 0
    else:
        strongest = np.sort(np.argsort(-tower.mean(axis=(0, 1)), kind="stable")[:MAPS])
        tiles, columns, gap = np.moveaxis(tower[..., strongest], -1, 0), 8, 4
    colors = matplotlib.colormaps["magma"](tiles, bytes=True)[..., :3]
    scale = max(1, round(SIDE / tiles.shape[1])) if tower.ndim == 3 else 6
    return mosaic(colors, columns, scale, gap)
