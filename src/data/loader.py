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

from . import images
from .crops import draw_crops
from .dataset import PreparedDataset

Batch = dict[str, np.ndarray]
Batches = Generator[Batch, None, None]
Rows = slice | np.ndarray
"""Which rows of the global batch are this process's."""


def train_batches(
    prepared: PreparedDataset,
    *,
    global_batch: int,
    crop: int,
    seed: int,
    rows: Rows,
    start_step: int,
    stop_step: int,
    images_per_crop: int,
    shift: bool,
    mirror: bool,
) -> Batches:
    """Batches for the steps from `start_step` until before `stop_step`.

    The examples of step s are those at s·global_batch and after in an endless sequence, in which
    each epoch is a permutation of its own of the training split. A batch may thus straddle epochs.

    Yields:
      "image": uint8 (rows, crop, crop, 3), cropped, and mirrored where "flip" says so.
      "label": int32 (rows,).
      "offset": int32 (rows, 2), row and column of the crop's corner in the prepared image.
      "flip": bool (rows,).
    """
    records = prepared.records(prepared.train_split)
    num_examples = len(records)

    order: dict[int, np.ndarray] = {}  # of one epoch; a batch that straddles two makes the next
    shuffling = threading.Lock()

    def indices(positions: np.ndarray) -> np.ndarray:
        found = []
        with shuffling:
            for epoch, place in zip(*np.divmod(positions, num_examples), strict=True):
                if epoch not in order:
                    order.clear()
                    order[epoch] = permutation(seed, epoch, num_examples)
                found.append(order[epoch][place])
        return np.array(found)

    def load(step: int) -> Batch:
        positions = np.arange(step * global_batch, (step + 1) * global_batch)[rows]
        encoded, labels = records.read(indices(positions))
        offsets, flips = draw_crops(
            seed,
            step,
            global_batch=global_batch,
            slack=prepared.size - crop,
            images_per_crop=images_per_crop,
            shift=shift,
            mirror=mirror,
        )
        offsets, flips = offsets[rows], flips[rows]
        crops = np.empty((len(encoded), crop, crop, 3), np.uint8)
        whole = np.empty((prepared.size, prepared.size, 3), np.uint8)
        for out, one, (top, left), flip in zip(crops, encoded, offsets, flips, strict=True):
            out[:] = images.decode(one, whole)[top : top + crop, left : left + crop]
            if flip:
                cv2.flip(out, 1, dst=out)  # ten times as fast as assigning out[:, ::-1]
        return {"image": crops, "label": labels, "offset": offsets, "flip": flips}

    types = {"image": np.uint8, "label": np.int32, "offset": np.int32, "flip": np.bool_}
    return _in_parallel(load, range(start_step, stop_step), types)


def permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of the examples in an epoch: each index once, in as few bytes as hold it."""
    order = np.arange(num_examples, dtype=np.min_scalar_type(num_examples))
    np.random.default_rng([seed, epoch, 0]).shuffle(order)
    return order


def eval_batches(
    prepared: PreparedDataset, split: str, *, global_batch: int, rows: Rows
) -> Batches:
    """Every example of a split once, in order; the last batch is filled up.

    Yields:
      "image": uint8 (rows, size, size, 3), whole.
      "label": int32 (rows,).
      "mask": float32 (rows,), 1 for an example and 0 for filling.
    """
    records = prepared.records(split)
    num_examples = len(records)

    def load(step: int) -> Batch:
        positions = np.arange(step * global_batch, (step + 1) * global_batch)[rows]
        encoded, labels = records.read(np.minimum(positions, num_examples - 1))
        whole = np.empty((len(encoded), prepared.size, prepared.size, 3), np.uint8)
        for out, one in zip(whole, encoded, strict=True):
            images.decode(one, out)
        mask = (positions < num_examples).astype(np.float32)
        return {"image": whole, "label": labels, "mask": mask}

    types = {"image": np.uint8, "label": np.int32, "mask": np.float32}
    return _in_parallel(load, range(-(-num_examples // global_batch)), types)


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
