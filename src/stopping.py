"""SIGTERM and its like, which ask a run to save everything and leave."""

import functools
import signal
import sys
from types import FrameType, TracebackType
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding

SAVED = 75
"""The exit status that means: saved, start me again (EX_TEMPFAIL of sysexits.h).

No signal and no shell makes it: 143 could also be that of a process that SIGTERM ended unsaved.
"""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # mpirun hands on only the last


def leave_when_asked() -> None:
    """From now on a signal ends the process, with the status that means: start me again."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(SAVED))


class StopRequest:
    """While it is entered, the first signal is noted and a second one acts as it did before."""

    def __init__(self) -> None:
        self._is_asked = False
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
        self._restore()

    def agreed(self) -> bool:
        """Whether to stop now, the same in all processes of the run.

        Each must call it equally often. Where there are several, it answers what was found at the
        call before, so that nobody waits for the devices.
        """
        if jax.process_count() == 1:
            self.is_agreed = self._is_asked
        elif not self.is_agreed:
            before, self._agreement = self._agreement, _any()(_flags(self._is_asked))
            self.is_agreed = before is not None and bool(before)
        return self.is_agreed

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._is_asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


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
