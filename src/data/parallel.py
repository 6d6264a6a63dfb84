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
    """Yields the result of each input, in order; `ahead` of them are in progress at a time.

    The function is called in threads, in parallel only while it releases the GIL. The inputs may be
    endless; they are iterated in the caller's thread.
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
