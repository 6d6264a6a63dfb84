"""Preemption: SIGTERM and similar signals ask a run to save everything and to end."""

import functools
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding

from ..errors import EXIT_PREEMPTED

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # mpirun forwards only the last
SAME_REQUEST = 5  # seconds; a second signal within them is the same request, sent another way


def exit_on_signal() -> None:
    """From now on, a signal ends the process with EXIT_PREEMPTED: nothing is lost yet.

    The handler ends the process itself: an exception is lost if the signal arrives while Python
    runs a callback of JAX's.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(EXIT_PREEMPTED))


class Preemption:
    """Notes signals while it is entered; call it to ask whether to stop.

    A second signal, SAME_REQUEST seconds or more after the first, ends the process with the
    signal's own status, because nothing may have been saved.

    Args:
      report_progress: called with each call.

    Attributes:
      is_preempted: what the last call answered.
    """

    def __init__(self, report_progress: Callable[[], None] = lambda: None) -> None:
        self._report_progress = report_progress
        self._requested_at: float | None = None
        self._pending: jax.Array | None = None  # whether any process had a signal, bool ()
        self.is_preempted = False

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether to stop now, with the same answer in all processes.

        All processes must call it equally often. If there are several, the answer is that of the
        previous call, so that no process waits for its devices.
        """
        self._report_progress()
        is_requested = self._requested_at is not None
        if jax.process_count() == 1:
            self.is_preempted = is_requested
        elif not self.is_preempted:
            previous, self._pending = self._pending, _any()(_flags(is_requested))
            self.is_preempted = previous is not None and bool(previous)
        return self.is_preempted

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._requested_at is None:
            self._requested_at = time.monotonic()
        elif time.monotonic() - self._requested_at > SAME_REQUEST:
            os._exit(128 + number)  # the main thread may be blocked in the devices


@functools.cache
def _sharding(spec: jax.P) -> NamedSharding:
    mesh = jax.make_mesh((jax.device_count(),), ("device",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, spec)


@functools.cache
def _flags(is_requested: bool) -> jax.Array:
    """This process's flag, repeated for each of its devices: bool (all devices,)."""
    flags = np.full(jax.local_device_count(), is_requested)
    return jax.make_array_from_process_local_data(_sharding(jax.P("device")), flags)


@functools.cache
def _any() -> jax.stages.Wrapped:
    return jax.jit(jnp.any, out_shardings=_sharding(jax.P()))
