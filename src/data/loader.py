"""Batches of a prepared data set for one process, with tf.data.

Which examples are in a batch, and how they are cropped, is a function of (seed, step): a run that
resumes starts at its step, and needs nothing else to see what it would have seen.
"""

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict

from . import images
from .crops import draw_crops
from .dataset import PreparedDataset

Batch = dict[str, np.ndarray]
Batches = Generator[Batch, None, None]
Rows = slice | np.ndarray
"""Which rows of the global batch are this process's."""


class TrainLoader:
    """Batches of the training split.

    The examples of step s are those at s·global_batch and after in an endless sequence, in which
    each epoch is its own permutation of the training split. A batch may thus straddle epochs.

    Args:
      dataset: the prepared images.
      augment: `config.augment`, of which `shift`, `mirror` and `images_per_crop` concern crops.
      crop: height and width of the crops.
      global_batch: images of a step, over all processes.
      seed: the run's.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        augment: ConfigDict,
        *,
        crop: int,
        global_batch: int,
        seed: int,
    ):
        self._records = dataset.records(dataset.train_split)
        self._size = dataset.size
        self._augment = augment
        self._crop = crop
        self._global_batch = global_batch
        self._seed = seed
        self._order: dict[int, np.ndarray] = {}  # by epoch; a batch that straddles two needs both
        self._shuffling = threading.Lock()

    def batches(self, rows: Rows, steps: range) -> Batches:
        """This process's rows of the batches of some steps.

        Yields:
          "image": uint8 (rows, crop, crop, 3), cropped, and mirrored where "flip" says so.
          "label": int32 (rows,).
          "offset": int32 (rows, 2), row and column of the crop's corner in the prepared image.
          "flip": bool (rows,).
        """
        types = {"image": np.uint8, "label": np.int32, "offset": np.int32, "flip": np.bool_}
        return _in_parallel(lambda step: self._load(step, rows), steps, types)

    def _load(self, step: int, rows: Rows) -> Batch:
        count, crop = self._global_batch, self._crop
        encoded, labels = self._records.read(
            self._indices(np.arange(step * count, (step + 1) * count)[rows])
        )
        offsets, flips = draw_crops(
            (self._seed, step), self._augment, count=count, margin=self._size - crop
        )
        offsets, flips = offsets[rows], flips[rows]
        crops = np.empty((len(encoded), crop, crop, 3), np.uint8)
        whole = np.empty((self._size, self._size, 3), np.uint8)
        for out, image, (top, left), flip in zip(crops, encoded, offsets, flips, strict=True):
            out[:] = images.decode(image, whole)[top : top + crop, left : left + crop]
            if flip:
                cv2.flip(out, 1, dst=out)  # ten times as fast as assigning out[:, ::-1]
        return {"image": crops, "label": labels, "offset": offsets, "flip": flips}

    def _indices(self, positions: np.ndarray) -> np.ndarray:
        """The examples at some positions of the endless sequence."""
        count = len(self._records)
        indices = []
        with self._shuffling:
            for epoch, place in zip(*np.divmod(positions, count), strict=True):
                if epoch not in self._order:
                    self._order.clear()
                    self._order[epoch] = permutation(self._seed, epoch, count)
                indices.append(self._order[epoch][place])
        return np.array(indices)


def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of the examples in an epoch: each index once, in as few bytes as hold it."""
    order = np.arange(num_examples, dtype=np.min_scalar_type(num_examples))
    np.random.default_rng([seed, epoch, 0]).shuffle(order)
    return order


class EvalLoader:
    """Every example of a split once, in order; the last batch is padded.

    Args:
      dataset: the prepared images.
      split: the split's name.
      global_batch: images of a batch, over all processes.
    """

    def __init__(self, dataset: PreparedDataset, split: str, *, global_batch: int):
        self._dataset, self._split = dataset, split
        self._global_batch = global_batch

    def batches(self, rows: Rows) -> Batches:
        """This process's rows of all batches.

        Yields:
          "image": uint8 (rows, size, size, 3), whole.
          "label": int32 (rows,).
          "mask": float32 (rows,), 1 for an example and 0 for padding.
        """
        records, size = self._dataset.records(self._split), self._dataset.size
        count, global_batch = len(records), self._global_batch

        def load(step: int) -> Batch:
            positions = np.arange(step * global_batch, (step + 1) * global_batch)[rows]
            encoded, labels = records.read(np.minimum(positions, count - 1))
            whole = np.empty((len(encoded), size, size, 3), np.uint8)
            for out, image in zip(whole, encoded, strict=True):
                images.decode(image, out)
            mask = (positions < count).astype(np.float32)
            return {"image": whole, "label": labels, "mask": mask}

        types = {"image": np.uint8, "label": np.int32, "mask": np.float32}
        return _in_parallel(load, range(-(-count // global_batch)), types)


_running: weakref.WeakSet[Batches] = weakref.WeakSet()


@atexit.register
def _stop() -> None:
    # A thread of TensorFlow's that is in Python code when the interpreter ends would abort it.
    for batches in list(_running):
        batches.close()


def _in_parallel(load: Callable[[int], Batch], steps: range, types: Mapping[str, type]) -> Batches:
    """Loads the batches of several steps at once, ahead of time, and yields them in order."""
    import tensorflow as tf  # takes seconds, which a mistake in a command need not wait for

    tf.config.set_visible_devices([], "GPU")  # they are JAX's
    failures = []

    def load_arrays(step: np.int64) -> list[np.ndarray]:
        try:
            batch = load(int(step))
        except Exception as error:
            failures.append(error)
            raise
        return [batch[name] for name in types]

    @tf.autograph.experimental.do_not_convert  # it would leave a file in /tmp when killed
    def load_tensors(step: Any) -> dict[str, Any]:
        tensors = tf.numpy_function(load_arrays, [step], list(types.values()))
        return dict(zip(types, tensors, strict=True))

    dataset = (
        tf.data.Dataset.range(steps.start, steps.stop)
        .map(load_tensors, num_parallel_calls=os.cpu_count(), deterministic=True)
        .prefetch(2)
    )
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread may sleep on for many seconds when all shall end
    dataset = dataset.with_options(options)

    def iterate() -> Batches:
        try:
            yield from dataset.as_numpy_iterator()
        except tf.errors.OpError as error:  # which is a page long, and keeps the iterator alive
            failure = failures[0] if failures else error
        else:
            return
        raise failure

    batches = iterate()
    _running.add(batches)
    return batches
