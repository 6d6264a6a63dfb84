"""SIGTERM and its like, which ask a run to save everything and leave."""

import functools
import os
import signal
import time
from types import FrameType, TracebackType
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding

EXIT_PREEMPTED = 75
"""The exit status that means: nothing is lost, start me again (EX_TEMPFAIL of sysexits.h).

No signal and no shell makes it: 143 could also be that of a process that SIGTERM ended unsaved.
"""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # mpirun hands on only the last


SAME_REQUEST = 5  # seconds; a second signal sooner is the first one, come another way


def exit_on_signal() -> None:
    """From now on a signal ends the process, with the status that means: start me again."""
    for number in SIGNALS:
        # Not by an exception, which would get lost if the signal comes in a callback of JAX's.
        signal.signal(number, lambda *_: os._exit(EXIT_PREEMPTED))


class Preemption:
    """While it is entered, a signal is noted; one more, some seconds later, ends the process.

    That one's status is the signal's, since nothing may have been saved.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._agreement: jax.Array | None = None
        self.is_agreed = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """Whether to stop now, the same in all processes of the run.

        Each must call it equally often. Where there are several, it answers what was found at the
        call before, so that nobody waits for the devices.
        """
        is_asked = self._asked_at is not None
        if jax.process_count() == 1:
            self.is_agreed = is_asked
        elif not self.is_agreed:
            before, self._agreement = self._agreement, _any()(_flags(is_asked))
            self.is_agreed = before is not None and bool(before)
        return self.is_agreed

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_REQUEST:
            os._exit(128 + number)


@functools.cache
def _sharding(spec: jax.P) -> NamedSharding:
    mesh = jax.make_mesh((jax.device_count(),), ("device",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, spec)


@functools.cache
def _flags(is_asked: bool) -> jax.Array:
    """What this process says, on each of its devices."""
    flags = np.full(jax.local_device_count(), is_asked)
    return jax.make_array_from_process_local_data(_sharding(jax.P("device")), flags)


@functools.cache
def _any() -> jax.stages.Wrapped:
    return jax.jit(jnp.any, out_shardings=_sharding(jax.P()))
