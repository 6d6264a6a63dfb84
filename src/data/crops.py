"""Where images are cropped and which are mirrored: random in training, fixed in evaluation."""

import itertools

import jax.numpy as jnp
import numpy as np

from .statistics import Array


def draw_crops(
    seed: int,
    step: int,
    *,
    global_batch: int,
    slack: int,
    images_per_crop: int,
    shift: bool,
    mirror: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws where to crop each image of one step's global batch, and which to mirror.

    Args:
      seed: the run's.
      step: which step's batch. The outcome is a function of the arguments alone.
      global_batch: the number of images.
      slack: by how much the images are larger than the crops.
      images_per_crop: so many consecutive images share one draw: 1, or 32 as in the authors' code.
      shift: whether to crop anywhere, or always the center.
      mirror: whether to mirror half of the draws.

    Returns:
      offsets, int32 (global_batch, 2): row and column of the crops' corners, 0…slack, both ends
      included; and flips, bool (global_batch,).
    """
    random = np.random.default_rng([seed, step, 1])  # 0 orders the examples
    draws = -(-global_batch // images_per_crop)
    offsets = random.integers(0, slack, (draws, 2), dtype=np.int32, endpoint=True)
    flips = mirror & (random.random(draws) < 0.5)
    if not shift:
        offsets[:] = slack // 2

    def shared(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, images_per_crop, axis=0)[:global_batch]

    return shared(offsets), shared(flips)


VIEWS = (1, 9, 10)


def evaluation_views(count: int, slack: int) -> tuple[Array, Array]:
    """Where the views are that an evaluation averages over.

    Args:
      count: 1 for the center; 10 for the four corners and the center, and their mirror images (the
        paper's section 4.1); 9 for three by three places, not mirrored (cuda-convnet until 2012).
      slack: by how much the images are larger than the crops.

    Returns:
      offsets, int32 (count, 2), and flips, bool (count,).
    """
    middle = slack // 2
    corners_and_center = [(0, 0), (0, slack), (middle, middle), (slack, 0), (slack, slack)]
    places = {
        1: [(middle, middle)],
        9: list(itertools.product((0, middle, slack), repeat=2)),
        10: corners_and_center * 2,
    }[count]
    return jnp.array(places), (jnp.arange(count) >= 5) & (count == 10)
