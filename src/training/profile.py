"""A trace of some steps, for xprof and TensorBoard's profile plugin."""

import contextlib
import itertools
import logging
from collections.abc import Generator, Iterator
from pathlib import Path

import jax

from .step import Batch

logger = logging.getLogger(__name__)
BEFORE = 5  # steps after a start, which are no measure of the others


@contextlib.contextmanager
def profiled(
    batches: Iterator[Batch], first: int, steps: int, workdir: Path
) -> Iterator[Iterator[Batch]]:
    """The batches from step `first` on; process 0 traces what is done with some of them.

    A step lasts from the request for its batch until that for the next one.

    Args:
      steps: traced steps, after the first few; 0 for none.
      workdir: the run directory, which gets the directory `profile`.
    """
    if steps and jax.process_index() == 0:
        with contextlib.closing(_traced(batches, first + BEFORE, steps, workdir)) as traced:
            yield traced
    else:
        yield batches


def _traced(
    batches: Iterator[Batch], start: int, steps: int, workdir: Path
) -> Generator[Batch, None, None]:
    yield from itertools.islice(batches, BEFORE)
    directory = workdir / "profile"
    with jax.profiler.trace(directory):
        for step in range(start, start + steps):
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                yield next(batches)
        jax.block_until_ready(jax.live_arrays())  # the last step may still be running
    logger.info("traced %d steps: xprof --logdir=%s", steps, directory)
    yield from batches
