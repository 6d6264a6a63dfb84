"""Preemption: on SIGTERM and similar signals, a run saves everything and ends."""

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

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # mpirun: the last only
SAME_REQUEST = 5  # seconds in which a second signal is the same request, sent another way


def exit_on_signal() -> None:
    """Lets signals end the process with EXIT_PREEMPTED, as long as there is nothing to save.

    The handler raises no exception, because Python loses an exception in a callback of JAX's.
    """
    for number in _signals():
        signal.signal(number, lambda *_: os._exit(EXIT_PREEMPTED))


def _signals() -> list[signal.Signals]:
    """The signals to handle; not SIGHUP where this process ignores it, as under nohup."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not is_ignored]


def _discard_output_to_closed_terminal() -> None:
    """Otherwise a line of output would end this process with an error instead of its status."""
    for file in (1, 2):
        try:
            os.write(file, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file)


class Preemption:
    """Records signals while it is entered; call it to ask whether to stop.

    A second signal more than SAME_REQUEST seconds after the first ends the process at once, with
    the signal's own status: training may not have saved anything. Each call keeps its answer in
    `is_preempted`. `report_progress` gets True at each call, and False at the end.
    """

    def __init__(self, report_progress: Callable[[bool], None] = lambda _: None) -> None:
        self._report_progress = report_progress
        self._requested_at: float | None = None
        self._pending: jax.Array | None = None  # whether any process got a signal, bool ()
        self.is_preempted = False

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._record) for number in _signals()}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._report_progress(False)

    def __call__(self) -> bool:
        """Returns whether to stop now, the same in all processes.

        All processes must call it equally often. With several processes, the answer is one call
        late, so that no process waits for its devices.
        """
        self._report_progress(True)
        is_requested = self._requested_at is not None
        if jax.process_count() == 1:
            self.is_preempted = is_requested
        elif not self.is_preempted:
            previous, self._pending = self._pending, _any_process(is_requested)()
            self.is_preempted = previous is not None and bool(previous)
        return self.is_preempted

    def _record(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._requested_at is None:
            self._requested_at = time.monotonic()
            _discard_output_to_closed_terminal()
        elif time.monotonic() - self._requested_at > SAME_REQUEST:
            os._exit(128 + number)  # the main thread may be blocked in the devices


@functools.cache
def _any_process(is_requested: bool) -> Callable[[], jax.Array]:
    """Returns a computation of whether any process passed True to this function: bool ()."""
    mesh = jax.make_mesh((jax.device_count(),), ("device",), axis_types=(AxisType.Auto,))
    flags = np.full(jax.local_device_count(), is_requested)  # one for each of its devices
    sharding = NamedSharding(mesh, jax.P("device"))
    shared = jax.make_array_from_process_local_data(sharding, flags)  # bool (all devices,)
    return functools.partial(jax.jit(jnp.any, out_shardings=NamedSharding(mesh, jax.P())), shared)
