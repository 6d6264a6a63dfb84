"""Computes images that arrive one by one in batches, in a thread of their own."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")

MAX_WAIT = 0.1  # seconds for images that are being read: large batches take less time an image


class Batcher:
    """The only thread that uses the devices; images that wait for it become one batch.

    Several threads must not use several devices: their collectives would wait for each other.

    Args:
      compute: from images (N, …) to results (N, …), N at most `max_batch`.
      max_batch: images a batch.
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray], max_batch: int):
        self._compute, self._max_batch = compute, max_batch
        self._waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
        self._expected = 0
        self._changed = threading.Condition()
        self._thread = ThreadPoolExecutor(1)

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """While an image is being read, to be submitted: a batch waits for it, but not for long."""
        with self._changed:
            self._expected += 1
        try:
            yield
        finally:
            with self._changed:
                self._expected -= 1
                self._changed.notify()

    def submit(self, image: np.ndarray) -> Future[np.ndarray]:
        """The result of one image."""
        future: Future[np.ndarray] = Future()
        self._waiting.append((image, future))
        # It does nothing if an earlier batch included the image.
        self._thread.submit(self._compute_waiting)
        return future

    def call(self, function: Callable[..., Result], *arguments: object) -> Future[Result]:
        """What a function returns that uses the devices; images that came before go first."""
        return self._thread.submit(function, *arguments)

    def _is_complete(self) -> bool:
        return not self._expected or len(self._waiting) >= self._max_batch

    def _compute_waiting(self) -> None:
        if not self._waiting:
            return
        with self._changed:
            self._changed.wait_for(self._is_complete, MAX_WAIT)
        count = min(len(self._waiting), self._max_batch)
        taken = [self._waiting.popleft() for _ in range(count)]
        batch = [(image, f) for image, f in taken if f.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            results = self._compute(np.stack([image for image, _ in batch]))
        except Exception as error:  # concerns those who wait for these images, not the thread
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
