"""What training makes of one image before the network sees it, with the recipe's own settings."""

from typing import Any

import jax
import numpy as np

from ..data import augment
from ..data.crops import draw_crops
from .pictures import photo
from .run import Run

SHOWN = 8


def show(run: Run) -> dict[str, Any]:
    """One training image, whole; some of its crops; and its center in other colors."""
    config, statistics = run.config.augment, run.data.statistics
    crop = run.architecture.image_size
    slack = run.data.size - crop
    (whole,) = run.draw(run.data.train_split, 1).pixels
    crops = []
    for step in range(SHOWN):
        ((row, column),), (flip,) = draw_crops(
            (run.config.seed, step), config, count=1, margin=slack
        )
        part = whole[row : row + crop, column : column + crop]
        words = f"row {row}, column {column}{', mirrored' * bool(flip)}"
        frame = f"left: {column / run.data.size:.2%}; top: {row / run.data.size:.2%}"
        image = photo(part[:, ::-1] if flip else part)
        crops.append({"image": image, "words": words, "frame": frame})

    keys = jax.random.split(jax.random.key(run.config.seed), SHOWN)
    start = slack // 2
    center = whole[start : start + crop, start : start + crop].astype(np.float32)
    # As in training, the noise is added to what the mean was subtracted from.
    places = np.full((1, 2), start, np.int32), np.zeros(1, bool)
    less = augment.subtract_mean(center[None], statistics.mean, *places, config.mean)
    noise = keys, statistics.deviations, statistics.directions, config.color
    noisy = augment.color_noise(less.repeat(SHOWN, axis=0), *noise)
    seen = np.clip(np.asarray(noisy - less) + center, 0, 255).round().astype(np.uint8)
    # Of black images, for the authors' form also makes a bit darker what there is.
    added = np.asarray(augment.color_noise(np.zeros((SHOWN, 1, 1, 3), np.float32), *noise))
    shifts = [
        "red {:+d}, green {:+d}, blue {:+d}".format(*color.round().astype(int))
        for color in added[:, 0, 0]
    ]
    shifts = [words.replace("-", "−") for words in shifts]
    return {
        "image": photo(whole),
        "size": run.data.size,
        "crop": crop,
        "crops": crops if (config.shift and slack) or config.mirror else [],
        "shift": config.shift and slack > 0,
        "mirror": config.mirror,
        "color": config.color,
        "colors": [
            {"image": photo(one), "words": said} for one, said in zip(seen, shifts, strict=True)
        ]
        if config.color != "none"
        else [],
        "deviations": [float(d) for d in statistics.deviations],
    }
