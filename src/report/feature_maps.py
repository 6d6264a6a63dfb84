"""The output of each layer for one image, drawn for each tower."""

import math
from typing import Any

import cv2
import numpy as np

from ..inference.classifier import Classifier
from ..writers.pictures import mosaic
from .images import png
from .run import Run

MAX_MAPS = 16  # per tower, the strongest
MIN_SIDE = 56  # approximate side of the smallest map, in pixels


def section(run: Run) -> dict[str, Any]:
    """The output of each layer but the last, an image for each tower."""
    example = run.sample(run.data.eval_split, 1)
    names = run.architecture.layer_names[:-1]
    layers = [draw_layer(run.classifier, example.pixels, name) for name in names]
    return {**run.photos(example)[0], "layers": layers}


def draw_layer(classifier: Classifier, pixels: np.ndarray, name: str) -> dict[str, Any]:
    """A layer's output for a prepared image (1, size, size, 3), drawn for each tower."""
    net = classifier.architecture
    output = classifier.features(pixels, name)[0]
    if output.shape[:-1] == (1, 1):  # maps of one position are like units
        output = output[0, 0]
    towers = np.split(output, net.towers, axis=-1)
    low, high = min(output.min(), 0), max(np.quantile(output, 0.999), 1e-30)
    drawings = [_draw_tower((tower - low) / (high - low)) for tower in towers]
    count, is_maps = towers[0].shape[-1], output.ndim == 3
    return {
        "name": name,
        "images": [png(drawing) for drawing in drawings],
        "aspect": drawings[0].shape[1] / drawings[0].shape[0],
        "active": [float((tower > 0).mean()) for tower in towers],
        "count": count,
        "kind": "maps" if is_maps else "units",
        "size": "×".join(map(str, towers[0].shape[:-1])),
        "pooled": name in net.convs and any(op in net.pools for op in net.convs[name].followed_by),
        "strongest": MAX_MAPS if is_maps and count > MAX_MAPS else 0,
    }


def _draw_tower(output: np.ndarray) -> np.ndarray:
    """Draws a tower's strongest maps (H, W, maps) side by side, or its units (units,) in rows."""
    if output.ndim == 1:
        width = math.ceil(math.sqrt(8 * len(output)))
        tiles = np.pad(output, (0, -len(output) % width)).reshape(1, -1, width)
        columns, scale, gap = 1, 6, 0
    else:
        strongest = np.argsort(-output.mean(axis=(0, 1)), kind="stable")[:MAX_MAPS]
        tiles = np.moveaxis(output[..., np.sort(strongest)], -1, 0)
        columns, scale, gap = 8, max(1, round(MIN_SIDE / len(output))), 4
    gray = np.rint(255 * tiles.clip(0, 1)).astype(np.uint8)
    bgr = cv2.applyColorMap(gray.reshape(-1, gray.shape[-1]), cv2.COLORMAP_MAGMA)
    return mosaic(bgr[..., ::-1].reshape(*gray.shape, 3), columns, scale, gap)
