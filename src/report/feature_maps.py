"""What the network makes of one image, layer by layer and tower by tower."""

import math
from typing import Any

import matplotlib
import numpy as np

from .pictures import mosaic, photo, png
from .run import Run

MAPS = 16  # of each tower, the strongest
SIDE = 56  # pixels that a map is at least shown with, about


def show(run: Run) -> dict[str, Any]:
    """The maps of each layer but the last, an image for each tower."""
    example = run.draw(run.data.eval_split, 1)
    layers = []
    for name in run.layers[:-1]:
        activations = run.classifier.features(example.pixels, name)[0]
        if activations.shape[:-1] == (1, 1):  # maps of one place are like units
            activations = activations[0, 0]
        towers = np.split(activations, run.architecture.towers, axis=-1)
        low, high = min(activations.min(), 0), max(np.quantile(activations, 0.999), 1e-30)
        shown = [png(_picture((tower - low) / (high - low))) for tower in towers]
        active = [float((tower > 0).mean()) for tower in towers]
        count = towers[0].shape[-1]
        kind = "maps" if activations.ndim == 3 else "units"
        size = "×".join(map(str, towers[0].shape[:-1]))
        follows = run.architecture.convs[name].followed_by if name in run.architecture.convs else ()
        pooled = any(operation in run.architecture.pools for operation in follows)
        layers.append(
            {"name": name, "images": shown, "active": active, "count": count, "kind": kind}
            | {
                "size": size,
                "pooled": pooled,
                "most": MAPS if kind == "maps" and count > MAPS else 0,
            }
        )
    label = run.class_names[example.labels[0]]
    return {"image": photo(example.pixels[0]), "label": label, "layers": layers}


def _picture(tower: np.ndarray) -> np.ndarray:
    """A tower's strongest maps (H, W, maps) side by side, or its units (units,) row by row."""
    if tower.ndim == 1:
        width = math.ceil(math.sqrt(8 * len(tower)))
        padded = np.pad(tower, (0, -len(tower) % width))
        tiles, columns, gap = padded.reshape(1, -1, width), 1, 0
    else:
        strongest = np.sort(np.argsort(-tower.mean(axis=(0, 1)), kind="stable")[:MAPS])
        tiles, columns, gap = np.moveaxis(tower[..., strongest], -1, 0), 8, 4
    colors = matplotlib.colormaps["magma"](tiles, bytes=True)[..., :3]
    scale = max(1, round(SIDE / tiles.shape[1])) if tower.ndim == 3 else 6
    return mosaic(colors, columns, scale, gap)
