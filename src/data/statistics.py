"""The mean image and the colors' principal components of a training split."""

from typing import NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray


class Statistics(NamedTuple):
    """Statistics of the training split's pixels, in units of 0…255."""

    mean: Array  # float32 (size, size, 3): the mean image
    deviations: Array  # float32 (3,): standard deviations along `directions`, descending
    directions: Array  # float32 (3, 3): the principal components of RGB, as columns


class PixelSums:
    """Sums over images; exact, since they are integers (float64 holds these up to 2⁵³)."""

    def __init__(self, size: int):
        self.num_images = 0
        self.pixels = np.zeros((size, size, 3), np.int64)
        self.products = np.zeros((3, 3))  # of each pair of colors

    def add(self, pixels: np.ndarray, products: np.ndarray) -> None:
        self.num_images += 1
        self.pixels += pixels
        self.products += products

    def statistics(self) -> Statistics:
        mean = self.pixels / self.num_images
        color = mean.mean((0, 1))
        second_moment = self.products / (self.num_images * mean.shape[0] * mean.shape[1])
        variances, directions = np.linalg.eigh(second_moment - np.outer(color, color))
        deviations = np.sqrt(np.maximum(variances, 0))  # gray images: two are 0, or just below
        arrays = (mean, deviations[::-1], directions[:, ::-1])  # descending
        return Statistics(*(array.astype(np.float32) for array in arrays))
