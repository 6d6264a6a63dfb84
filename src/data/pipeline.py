"""The tf.data pipeline: batches loaded in parallel, ahead of their use."""

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
Batches = Generator[Batch, None, None]

_running: weakref.WeakSet[Batches] = weakref.WeakSet()
_importing = threading.Lock()


def import_tensorflow() -> Any:
    """Imports TensorFlow, which takes two seconds, but not Keras, which takes one more."""
    with _importing:
        setting = os.environ.get("TF_USE_LEGACY_KERAS", "")
        os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TensorFlow imports only the present Keras
        try:
            import tensorflow as tf
        finally:
            os.environ["TF_USE_LEGACY_KERAS"] = setting
    tf.config.set_visible_devices([], "GPU")  # JAX uses the GPUs
    return tf


def in_parallel(load: Callable[[int], Batch], steps: range, calls: int) -> Batches:
    """Yields the batches of some steps, in order; `calls` threads call `load` at a time."""
    batches = _iterate(load, steps, calls)
    _running.add(batches)
    return batches


def _iterate(load: Callable[[int], Batch], steps: range, calls: int) -> Batches:
    tf = import_tensorflow()
    failures = []
    loaded: dict[int, Batch] = {}  # passes TensorFlow by, which would take longer to pass it on

    def load_step(step: np.int64) -> np.int64:
        try:
            loaded[int(step)] = load(int(step))
        except Exception as error:
            failures.append(error)
            raise
        return step

    weak_load_step = weakref.proxy(load_step)  # TensorFlow keeps what it calls forever

    @tf.autograph.experimental.do_not_convert  # it would leave a file in /tmp when killed
    def load_tensor(step: Any) -> Any:
        return tf.numpy_function(lambda step: weak_load_step(step), [step], tf.int64)

    options = tf.data.Options()
    options.autotune.enabled = False  # its thread may sleep for many seconds at the end
    options.threading.private_threadpool_size = calls
    dataset = (
        tf.data.Dataset.range(steps.start, steps.stop)
        .map(load_tensor, num_parallel_calls=calls, deterministic=True)
        .prefetch(2)
        .with_options(options)
    )
    try:
        for step in dataset.as_numpy_iterator():
            yield loaded.pop(int(step))
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
