"""The tf.data pipeline: batches loaded in parallel, ahead of their use."""

import atexit
import os
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
Batches = Generator[Batch, None, None]

_running: weakref.WeakSet[Batches] = weakref.WeakSet()


def in_parallel(load: Callable[[int], Batch], steps: range, types: Mapping[str, type]) -> Batches:
    """Yields the batches of some steps, in order.

    Args:
      load: loads the batch of a step; called in threads.
      steps: the steps.
      types: of the batch's arrays, by name.
    """
    batches = _iterate(load, steps, types)
    _running.add(batches)
    return batches


def _iterate(load: Callable[[int], Batch], steps: range, types: Mapping[str, type]) -> Batches:
    import tensorflow as tf  # takes seconds, which a mistake in a command need not wait for

    tf.config.set_visible_devices([], "GPU")  # JAX uses the GPUs
    failures = []
    weak_load = weakref.proxy(load)  # TensorFlow keeps `load_arrays` forever, and `load` has files

    def load_arrays(step: np.int64) -> list[np.ndarray]:
        try:
            batch = weak_load(int(step))
        except Exception as error:
            failures.append(error)
            raise
        return [batch[name] for name in types]

    @tf.autograph.experimental.do_not_convert  # it would leave a file in /tmp when killed
    def load_tensors(step: Any) -> dict[str, Any]:
        tensors = tf.numpy_function(load_arrays, [step], list(types.values()))
        return dict(zip(types, tensors, strict=True))

    options = tf.data.Options()
    options.autotune.enabled = False  # its thread may sleep for many seconds at the end
    dataset = (
        tf.data.Dataset.range(steps.start, steps.stop)
        .map(load_tensors, num_parallel_calls=os.cpu_count(), deterministic=True)
        .prefetch(2)
        .with_options(options)
    )
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:  # a page long, and it keeps the iterator alive
        failure = failures[0] if failures else error
    else:
        return
    raise failure


@atexit.register
def _stop() -> None:
    # A thread of TensorFlow's that runs Python code when the interpreter ends would abort it.
    for batches in list(_running):
        batches.close()
