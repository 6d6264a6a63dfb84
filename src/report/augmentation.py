"""How training augments one image before the network sees it, with the recipe's own settings."""

from typing import Any

import jax
import numpy as np

from ..data import augment
from ..data.crops import draw_crops
from .images import photo
from .run import Run

SHOWN = 8


def show(run: Run) -> dict[str, Any]:
    """One prepared training image, some of its crops, and its center in other colors."""
    config, crop = run.config.augment, run.architecture.image_size
    (image,) = run.draw(run.data.train_split, 1).pixels
    shift = config.shift and run.data.size > crop
    return {
        "image": photo(image),
        "size": run.data.size,
        "crop": crop,
        "crops": _crops(run, image) if shift or config.mirror else [],
        "shift": shift,
        "mirror": config.mirror,
        "color": config.color,
        "colors": _colors(run, image) if config.color != "none" else [],
        "deviations": [float(d) for d in run.data.statistics.deviations],
    }


def _crops(run: Run, image: np.ndarray) -> list[dict[str, str]]:
    size, crop = run.data.size, run.architecture.image_size
    crops = []
    for step in range(SHOWN):
        ((row, column),), (flip,) = draw_crops(
            (run.config.seed, step), run.config.augment, count=1, margin=size - crop
        )
        part = image[row : row + crop, column : column + crop]
        crops.append(
            {
                "image": photo(part[:, ::-1] if flip else part),
                "words": f"row {row}, column {column}{', mirrored' * bool(flip)}",
                "frame": f"left: {column / size:.2%}; top: {row / size:.2%}",
            }
        )
    return crops


def _colors(run: Run, image: np.ndarray) -> list[dict[str, str]]:
    config, statistics = run.config.augment, run.data.statistics
    crop = run.architecture.image_size
    start = (run.data.size - crop) // 2
    center = image[start : start + crop, start : start + crop].astype(np.float32)
    # As in training, the noise is added after the mean is subtracted.
    offsets, flips = np.full((1, 2), start, np.int32), np.zeros(1, bool)
    centered = augment.subtract_mean(center[None], statistics.mean, offsets, flips, config.mean)
    keys = jax.random.split(jax.random.key(run.config.seed), SHOWN)
    noise = keys, statistics.deviations, statistics.directions, config.color
    noisy = augment.color_noise(centered.repeat(SHOWN, axis=0), *noise)
    shown = np.clip(np.asarray(noisy - centered) + center, 0, 255).round().astype(np.uint8)
    # Of black images, because the authors' form also darkens the image a bit.
    added = np.asarray(augment.color_noise(np.zeros((SHOWN, 1, 1, 3), np.float32), *noise))
    shifts = (
        "red {:+d}, green {:+d}, blue {:+d}".format(*c.round().astype(int)) for c in added[:, 0, 0]
    )
    return [
        {"image": photo(pixels), "words": words.replace("-", "−")}
        for pixels, words in zip(shown, shifts, strict=True)
    ]
