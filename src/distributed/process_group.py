"""The processes of a run: they start together, end together, and detect a lost process.

Process 0 and each other process exchange heartbeats over a connection of their own. JAX's own
heartbeats are off: they do not name the lost process, and abort a run that was suspended.
"""

import contextlib
import ctypes
import faulthandler
import json
import os
import queue
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import NoReturn, Self, TypeVar

import jax
from ml_collections import ConfigDict

from ..errors import EXIT_LOST_PROCESS, LostProcessError
from .devices import local_gpu_ids
from .environment import ProcessInfo
from .rendezvous import accept_peers, connect, join_leader

NEVER = 1 << 30  # seconds: 34 years
GRACE = 2  # seconds for another process that fails too to report its own error

Outcome = TypeVar("Outcome")


class ProcessGroup:
    """The processes of a run; each process enters it.

    Args:
      section: `config.processes`, in seconds; `stuck_after` is the time between calls of
        `report_progress`.

    Attributes:
      token: random text, the same in all processes of a run.

    Raises:
      JoinError: on entering, if not all processes connect.
      LostProcessError: on leaving, if the end of another process caused the error.
    """

    def __init__(self, process: ProcessInfo, section: ConfigDict):
        self.process = process
        self.token = secrets.token_hex(8)
        self._section = section
        self._watchdog: _Watchdog | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this is process 0, which prints and writes files."""
        return self.process.index == 0

    def __enter__(self) -> Self:
        if self.process.count == 1:
            return self
        within = self._section.join_within
        if self.is_main_process:
            peers, welcome = accept_peers(self.process, within, self.token)
        else:
            leader, welcome = join_leader(self.process, within)
            peers, self.token = {0: leader}, welcome["token"]
        self._watchdog = _Watchdog(self.process, peers, self._section)
        self._watchdog.start()
        address = f"{self.process.coordinator.rpartition(':')[0]}:{welcome['jax_port']}"
        if not self.is_main_process:  # JAX would wait for five minutes and abort
            connect(replace(self.process, coordinator=address), within).close()
        _delay_abort()
        jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
        jax.distributed.initialize(
            address,
            self.process.count,
            self.process.index,
            local_device_ids=local_gpu_ids(os.environ),
            cluster_detection_method="deactivate",  # launch/run.sh has detected the cluster
            heartbeat_timeout_seconds=NEVER,
            shutdown_timeout_seconds=NEVER,
        )
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        watchdog = self._watchdog
        if watchdog is None:
            return
        if error is None:
            watchdog.progressed_at = None
            jax.distributed.shutdown()
            watchdog.send("leaving")
            watchdog.join(self._section.lost_after)
            return
        if isinstance(error, Exception) and not hasattr(error, "exit_status"):
            with contextlib.suppress(queue.Empty):
                raise LostProcessError(watchdog.losses.get(timeout=GRACE / 2)) from None
        watchdog.has_failed = True
        watchdog.send("failed", self.process.index, getattr(error, "exit_status", 1))
        if self.is_main_process:
            time.sleep(GRACE)  # its end ends all others, which may be about to report the same

    def first_then_others(self, work: Callable[[], Outcome]) -> Outcome:
        """Calls `work` in process 0, then in all others, which can reuse its files."""
        if self._watchdog and not self.is_main_process:
            self._watchdog.main_process_done.acquire()
        outcome = work()
        if self._watchdog and self.is_main_process:
            self._watchdog.send("main process done")
        return outcome

    def report_progress(self, continues: bool = True) -> None:
        """Tells the watchdog that this process made progress.

        The first call starts the check; a call with False ends it until the next call.
        """
        if self._watchdog is not None:
            self._watchdog.progressed_at = self._watchdog.seconds_awake if continues else None


def _delay_abort() -> None:
    """Leaves the watchdog time to end this process when JAX aborts it, with status 134.

    JAX does so as soon as the connection to process 0 closes, and takes no callback from Python
    instead (0.10.2: std::bad_cast). The handler is sleep(), whose argument is the number of the
    signal: 6 seconds later, abort() goes on.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


class _Watchdog(threading.Thread):
    """Receives from the other processes, and ends this process when another one is lost.

    It has exit statuses, unlike other library code: only os._exit ends a process whose main thread
    is blocked in a collective operation.
    """

    def __init__(self, process: ProcessInfo, peers: dict[int, Connection], section: ConfigDict):
        super().__init__(daemon=True)
        self._process = process
        self._peers = peers  # in process 0 all others; in the others process 0
        self.seconds_awake = 0.0  # its clock, which stands still while this process is suspended
        self._last_message = dict.fromkeys(peers, 0.0)  # when processes that are still here sent it
        self._lost_after, self._stuck_after = section.lost_after, section.stuck_after
        self._sending = threading.Lock()
        self.losses: queue.SimpleQueue[str] = queue.SimpleQueue()  # messages about lost processes
        self.has_failed = False  # this process is about to end, whatever the others do
        self.main_process_done = threading.Semaphore(0)  # one release per `first_then_others`
        self.progressed_at: float | None = None

    def run(self) -> None:
        interval = min(5, self._lost_after / 6)
        woken_at, sent_at = time.monotonic(), -interval
        while self._last_message:
            if self.seconds_awake - sent_at >= interval:
                sent_at = self.seconds_awake
                self.send("alive")
            ready = wait([self._peers[index] for index in self._last_message], timeout=interval)
            slept_at, woken_at = woken_at, time.monotonic()
            self.seconds_awake += min(woken_at - slept_at, 2 * interval)
            for index in [index for index in self._last_message if self._peers[index] in ready]:
                if self.has_failed:
                    return
                self._receive(index)
            self._check_time()

    def _check_time(self) -> None:
        for index, last in self._last_message.items():
            if self.seconds_awake - last > self._lost_after:
                self._lose(index, f"sent nothing for {self._lost_after:g} s")
        progressed_at = self.progressed_at
        if progressed_at is not None and self.seconds_awake - progressed_at > self._stuck_after:
            limit = f"{self._stuck_after:g} s (config.processes.stuck_after)"
            message = f"is stuck: no step for {limit}; its threads are in:"
            self._exit(message, EXIT_LOST_PROCESS, dump_threads=True)

    def _receive(self, index: int) -> None:
        try:
            message = json.loads(self._peers[index].recv_bytes())
        except (EOFError, OSError):
            self._lose(index, "has ended or its network is down")
        self._last_message[index] = self.seconds_awake
        match message:
            case ["leaving"]:
                del self._last_message[index]
            case ["main process done"]:
                self.main_process_done.release()
            case ["lost", lost, how]:
                self._lose(lost, how)
            case ["failed", failed, status]:
                self.send(*message)
                time.sleep(GRACE / 2)  # this process may be about to report its own error
                self._exit(f"stops because process {failed} failed; see its message", status)

    def _lose(self, index: int, how: str) -> NoReturn:
        resume = "run the same command again to resume from the newest checkpoint"
        lost = "it" if index == self._process.index else f"process {index}"
        loss = f"stops because {lost} {how}; {resume}"
        self.losses.put(f"{self._process} {loss}")
        self.send("lost", index, how)
        if index not in (0, self._process.index):  # in these cases, JAX aborts this process
            time.sleep(GRACE)
        self._exit(loss, EXIT_LOST_PROCESS)

    def _exit(self, message: str, status: int, *, dump_threads: bool = False) -> NoReturn:
        line_break = "\n" if self._process.index == 0 else ""  # below the progress bar
        try:
            sys.stderr.write(f"{line_break}error: {self._process} {message}\n")
            sys.stderr.flush()
            if dump_threads:
                faulthandler.dump_traceback()
        finally:  # even if stderr is closed
            os._exit(status)

    def send(self, *message: str | int) -> None:
        with self._sending:
            for connection in self._peers.values():
                with contextlib.suppress(OSError):  # the next attempt to receive reports it
                    connection.send_bytes(json.dumps(message).encode())
