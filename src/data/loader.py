"""Batches of a prepared data set for one process.

Which examples a batch has, and how they are cropped, is a function of (seed, step). A resumed run
therefore needs only its step to continue with the same batches.
"""

import functools
import pickle
import weakref
from dataclasses import KW_ONLY, dataclass

import numpy as np
from ml_collections import ConfigDict

from .crops import draw_crops
from .dataset import PreparedDataset
from .pipeline import Batch, Batches, in_parallel
from .readers import Cache, Crops, readers
from .records import Records

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
        size, count, pickled = self.dataset.size, len(records), pickle.dumps(records)
        cache = _cache(self.dataset, records)

        def load(step: int) -> Batch:
            indices, crops = self._draw(rows, step, count)
            pixels, labels = readers().read(pickled, indices, size, crops, cache)
            return {"image": pixels, "label": labels, "offset": crops.offsets, "flip": crops.flips}

        return in_parallel(load, steps, readers().count + 1)

    def _draw(self, rows: Rows, step: int, num_examples: int) -> tuple[np.ndarray, Crops]:
        count, margin = self.global_batch, self.dataset.size - self.crop
        positions = np.arange(step * count, (step + 1) * count)[rows]
        epochs, places = np.divmod(positions, num_examples)
        indices = np.empty_like(places)
        for epoch in range(epochs.min(), epochs.max() + 1):
            order = permutation(self.seed, epoch, num_examples)
            indices[epochs == epoch] = order[places[epochs == epoch]]
        offsets, flips = draw_crops((self.seed, step), self.augment, count=count, margin=margin)
        return indices, Crops(self.crop, offsets[rows], flips[rows])


@functools.lru_cache(maxsize=2)  # a batch may straddle epochs
def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of the examples in an epoch, with the smallest unsigned type: (num_examples,)."""
    order = np.arange(num_examples, dtype=np.min_scalar_type(num_examples))
    np.random.default_rng([seed, epoch, 0]).shuffle(order)
    return order


def _cache(dataset: PreparedDataset, records: Records) -> Cache | None:
    """The cache of a split's decoded images, if they fit."""
    if records not in _caches and len(records) * dataset.size**2 * 3 <= dataset.cache_gb * 1e9:
        _caches[records] = Cache(readers().memory, len(records), dataset.size)
    return _caches.get(records)


_caches: weakref.WeakKeyDictionary[Records, Cache] = weakref.WeakKeyDictionary()


def eval_batches(dataset: PreparedDataset, split: str, rows: Rows, *, global_batch: int) -> Batches:
    """Loads these rows of the batches of a split, each example once, in order.

    Yields:
      "image": uint8 (rows, size, size, 3), not cropped.
      "label": int32 (rows,).
      "mask": float32 (rows,), 1 for an example and 0 for padding of the last batch.
    """
    records, size = dataset.records(split), dataset.size
    count, pickled, cache = len(records), pickle.dumps(records), _cache(dataset, records)

    def load(step: int) -> Batch:
        positions = np.arange(step * global_batch, (step + 1) * global_batch)[rows]
        indices = np.minimum(positions, count - 1)
        pixels, labels = readers().read(pickled, indices, size, cache=cache)
        mask = (positions < count).astype(np.float32)
        return {"image": pixels, "label": labels, "mask": mask}

    return in_parallel(load, range(-(-count // global_batch)), readers().count + 1)
