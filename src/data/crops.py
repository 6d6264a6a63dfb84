"""Where images are cropped and whether mirrored: random in training, fixed in evaluation."""

import itertools

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from .statistics import Array

VIEWS = (1, 9, 10)


def draw_crops(
    key: tuple[int, int], augment: ConfigDict, *, count: int, margin: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws where to crop each image of a step's global batch, and which images to mirror.

    Args:
      key: the seed and the step; the result is a function of the arguments alone.
      augment: `config.augment`.
      count: images of the global batch.
      margin: by how many pixels the images are larger than the crops.

    Returns:
      offsets, int32 (count, 2): row and column of the crops' corners, 0…margin, both ends included;
      and flips, bool (count,).
    """
    random = np.random.default_rng([*key, 1])  # [seed, epoch, 0] orders the examples
    draws = -(-count // augment.images_per_crop)
    offsets = random.integers(0, margin, (draws, 2), dtype=np.int32, endpoint=True)
    flips = augment.mirror & (random.random(draws) < 0.5)
    if not augment.shift:
        offsets[:] = margin // 2
    draw_of_image = np.arange(count) // augment.images_per_crop
    return offsets[draw_of_image], flips[draw_of_image]


def evaluation_views(count: int, margin: int) -> tuple[Array, Array]:
    """The crops of an image whose probabilities evaluation averages.

    Args:
      count: 1 for the center; 10 for the four corners, the center and their mirror images (the
        paper's section 4.1); 9 for 3 × 3 positions, not mirrored (cuda-convnet until 2012).
      margin: by how many pixels the images are larger than the crops.

    Returns:
      offsets, int32 (count, 2), and flips, bool (count,).
    """
    middle = margin // 2
    positions = {
        1: [(middle, middle)],
        9: list(itertools.product((0, middle, margin), repeat=2)),
        10: [(0, 0), (0, margin), (middle, middle), (margin, 0), (margin, margin)] * 2,
    }[count]
    return jnp.array(positions), (jnp.arange(count) >= 5) & (count == 10)
