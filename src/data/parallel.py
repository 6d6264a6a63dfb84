"""Computes results in threads, ahead of their use."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Input = TypeVar("Input")
Result = TypeVar("Result")


def compute_ahead(
    function: Callable[[Input], Result], inputs: Iterable[Input], ahead: int
) -> Generator[Result, None, None]:
    """Yields the result of each input, in order.

    Args:
      function: called in threads; parallel only while it releases the GIL.
      inputs: iterated in the caller's thread; may be endless.
      ahead: how many inputs are in progress at a time.
    """
    pool = ThreadPoolExecutor()
    pending: deque[Future[Result]] = deque()
    try:
        for item in inputs:
            pending.append(pool.submit(function, item))
            if len(pending) == ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
