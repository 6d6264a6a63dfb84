"""Batches of a prepared data set for one process.

Which examples a batch has, and how they are cropped, is a function of (seed, step). A resumed run
therefore needs only its step to continue with the same batches.
"""

import functools
from dataclasses import KW_ONLY, dataclass

import cv2
import numpy as np
from ml_collections import ConfigDict

from . import images
from .crops import draw_crops
from .dataset import PreparedDataset
from .pipeline import Batch, Batches, in_parallel

Rows = slice | np.ndarray
"""Which rows of the global batch belong to this process."""


@dataclass(frozen=True)
class TrainLoader:
    """Batches of the training split.

    The examples of step s are those at s·global_batch and after in an endless sequence, in which
    each epoch is its own permutation of the training split. A batch may thus straddle epochs.
    """

    dataset: PreparedDataset
    augment: ConfigDict  # `config.augment`, for `draw_crops`
    _: KW_ONLY
    crop: int  # height and width of the crops, in pixels
    global_batch: int  # images per step, over all processes
    seed: int  # of the run

    def batches(self, rows: Rows, steps: range) -> Batches:
        """Yields this process's rows of the batches of some steps.

        Yields:
          "image": uint8 (rows, crop, crop, 3), cropped, and mirrored where "flip" is true.
          "label": int32 (rows,).
          "offset": int32 (rows, 2), row and column of the crop's corner in the prepared image.
          "flip": bool (rows,).
        """
        records = self.dataset.records(self.dataset.train_split)
        size, crop = self.dataset.size, self.crop

        def load(step: int) -> Batch:
            indices, offsets, flips = self._draw(rows, step, len(records))
            encoded, labels = records.read(indices)
            crops = np.empty((len(encoded), crop, crop, 3), np.uint8)
            pixels = np.empty((size, size, 3), np.uint8)
            for out, image, (top, left), flip in zip(crops, encoded, offsets, flips, strict=True):
                out[:] = images.decode(image, pixels)[top : top + crop, left : left + crop]
                if flip:
                    cv2.flip(out, 1, dst=out)  # ten times as fast as assigning out[:, ::-1]
            return {"image": crops, "label": labels, "offset": offsets, "flip": flips}

        types = {"image": np.uint8, "label": np.int32, "offset": np.int32, "flip": np.bool_}
        return in_parallel(load, steps, types)

    def _draw(
        self, rows: Rows, step: int, num_examples: int
    ) -> tuple[list[int], np.ndarray, np.ndarray]:
        """The examples of a step's rows, and their crops' offsets and flips."""
        count, margin = self.global_batch, self.dataset.size - self.crop
        positions = np.arange(step * count, (step + 1) * count)[rows]
        pairs = zip(*np.divmod(positions, num_examples), strict=True)
        indices = [_cached_permutation(self.seed, epoch, num_examples)[i] for epoch, i in pairs]
        offsets, flips = draw_crops((self.seed, step), self.augment, count=count, margin=margin)
        return indices, offsets[rows], flips[rows]


def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of the examples in an epoch, with the smallest unsigned type: (num_examples,)."""
    order = np.arange(num_examples, dtype=np.min_scalar_type(num_examples))
    np.random.default_rng([seed, epoch, 0]).shuffle(order)
    return order


_cached_permutation = functools.lru_cache(maxsize=2)(permutation)  # a batch may straddle epochs


def eval_batches(dataset: PreparedDataset, split: str, rows: Rows, *, global_batch: int) -> Batches:
    """Loads every example of a split once, in order; the last batch is padded.

    Args:
      rows: of the global batch, for this process.
      global_batch: images per batch, over all processes.

    Yields:
      "image": uint8 (rows, size, size, 3), not cropped.
      "label": int32 (rows,).
      "mask": float32 (rows,), 1 for an example and 0 for padding.
    """
    records, size = dataset.records(split), dataset.size
    count = len(records)

    def load(step: int) -> Batch:
        positions = np.arange(step * global_batch, (step + 1) * global_batch)[rows]
        encoded, labels = records.read(np.minimum(positions, count - 1))
        pixels = np.empty((len(encoded), size, size, 3), np.uint8)
        for out, image in zip(pixels, encoded, strict=True):
            images.decode(image, out)
        mask = (positions < count).astype(np.float32)
        return {"image": pixels, "label": labels, "mask": mask}

    types = {"image": np.uint8, "label": np.int32, "mask": np.float32}
    return in_parallel(load, range(-(-count // global_batch)), types)
