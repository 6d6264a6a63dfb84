"""How training augments one image, with the settings of the recipe."""

from typing import Any

import jax
import numpy as np

from ..data import augment
from ..data.crops import draw_crops
from .images import photo
from .run import Run

NUM_IMAGES = 8


def section(run: Run) -> dict[str, Any]:
    """One prepared training image, some of its crops, and its center with color noise."""
    config = run.config.augment
    shifts = config.shift and run.data.size > run.architecture.image_size
    (image,) = run.sample(run.data.train_split, 1).pixels
    return {
        "image": photo(image),
        "shifts": shifts,
        "crops": _crops(run, image) if shifts or config.mirror else [],
        "colors": _colors(run, image) if config.color != "none" else [],
    }


def _crops(run: Run, image: np.ndarray) -> list[dict[str, str]]:
    size, crop = run.data.size, run.architecture.image_size
    crops = []
    for step in range(NUM_IMAGES):
        ((row, column),), (flip,) = draw_crops(
            (run.config.seed, step), run.config.augment, count=1, margin=size - crop
        )
        part = image[row : row + crop, column : column + crop]
        shown = photo(part[:, ::-1] if flip else part)
        caption = f"row {row}, column {column}{', mirrored' * bool(flip)}"
        position = f"left: {column / size:.2%}; top: {row / size:.2%}"
        crops.append({"image": shown, "caption": caption, "position": position})
    return crops


def _colors(run: Run, image: np.ndarray) -> list[dict[str, str]]:
    config, statistics = run.config.augment, run.data.statistics
    crop = run.architecture.image_size
    start = (run.data.size - crop) // 2
    center = image[start : start + crop, start : start + crop].astype(np.float32)
    # As in training, the noise is added after the mean is subtracted.
    offsets, flips = np.full((1, 2), start, np.int32), np.zeros(1, bool)
    centered = augment.subtract_mean(center[None], statistics.mean, offsets, flips, config.mean)
    keys = jax.random.split(jax.random.key(run.config.seed), NUM_IMAGES)
    noise = keys, statistics.deviations, statistics.directions, config.color
    noisy = augment.color_noise(centered.repeat(NUM_IMAGES, axis=0), *noise)
    shown = np.clip(np.asarray(noisy - centered) + center, 0, 255).round().astype(np.uint8)
    # Black images show the added color alone: the authors' form also darkens the image a bit.
    added = np.asarray(augment.color_noise(np.zeros((NUM_IMAGES, 1, 1, 3), np.float32), *noise))
    captions = [
        "red {:+d}, green {:+d}, blue {:+d}".format(*color).replace("-", "−")
        for color in added[:, 0, 0].round().astype(int)
    ]
    return [
        {"image": photo(pixels), "caption": caption}
        for pixels, caption in zip(shown, captions, strict=True)
    ]
