"""The processes of a run: they start and end together, and notice that one of them was lost.

Process 0 and each other process keep a connection, on which both regularly send a sign of life.
JAX has heartbeats too, but they end a process by an abort that names nobody: they remain as the
second line of defense.
"""

import contextlib
import faulthandler
import json
import os
import secrets
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

GRACE = 2  # seconds in which another process that fails too can report its own error

Outcome = TypeVar("Outcome")


class ProcessGroup:
    """The processes of a run, or its only one; each process enters it.

    Args:
      process: which process this is.
      section: `config.processes`, in seconds: `join_within`, until all processes are connected;
        `lost_after`, of silence until a process counts as lost; `stuck_after`, between calls of
        `report_progress` until this process counts as stuck.

    Attributes:
      token: the same random text in all processes, and in no other run.

    Raises:
      JoinError: on entering, if the processes do not come together.
      LostProcessError: on leaving, if another process's end caused the error.
    """

    def __init__(self, process: ProcessInfo, section: ConfigDict):
        self.process = process
        self.token = secrets.token_hex(8)
        self._section = section
        self._watchdog: _Watchdog | None = None

    @property
    def is_main_process(self) -> bool:
        """Whether this is process 0, which talks to the user and writes files."""
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
        host, _, _ = self.process.coordinator.rpartition(":")
        address = f"{host}:{welcome['jax_port']}"
        if not self.is_main_process:  # JAX would wait for five minutes and abort
            connect(replace(self.process, coordinator=address), within).close()
        jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
        jax.distributed.initialize(
            address,
            self.process.count,
            self.process.index,
            local_device_ids=local_gpu_ids(os.environ),
            cluster_detection_method="deactivate",  # launch/run.sh has detected the cluster
            heartbeat_timeout_seconds=int(2 * self._section.lost_after) + 30,
            shutdown_timeout_seconds=int(self._section.stuck_after),  # the watchdog acts sooner
        )
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._watchdog is None:
            return
        if error is None:
            self._watchdog.progressed_at = None
            jax.distributed.shutdown()
            self._watchdog.leave()
            return
        if isinstance(error, Exception) and not hasattr(error, "exit_status"):
            self._watchdog.raise_if_lost(within=GRACE / 2)
        self._watchdog.fail(getattr(error, "exit_status", 1))
        if self.is_main_process:
            time.sleep(GRACE)  # its end ends all others, which may be about to report the same

    def first_then_others(self, work: Callable[[], Outcome]) -> Outcome:
        """Does the work in process 0, then in all others at the same time.

        On shared disks, the others find the work done.
        """
        if self._watchdog is None:
            return work()
        if not self.is_main_process:
            self._watchdog.turn.acquire()
        outcome = work()
        if self.is_main_process:
            self._watchdog.send("your turn")
        return outcome

    def report_progress(self) -> None:
        """Says that this process is not stuck; from the first call on, it can count as stuck."""
        if self._watchdog is not None:
            self._watchdog.progressed_at = time.monotonic()


class _Watchdog(threading.Thread):
    """Listens to the other processes, and ends this one when one of them is lost.

    It has exit statuses, unlike other library code: the main thread may be blocked in a collective
    operation that never ends, so only os._exit ends the process.
    """

    def __init__(self, process: ProcessInfo, peers: dict[int, Connection], section: ConfigDict):
        super().__init__(daemon=True)
        self._process = process
        self._peers = peers  # in process 0 all others, in the others process 0
        self._last_message = dict.fromkeys(peers, time.monotonic())  # of those that have not left
        self._lost_after, self._stuck_after = section.lost_after, section.stuck_after
        self._sending = threading.Lock()
        self._has_lost = threading.Event()
        self._loss = ""  # how which process was lost
        self._has_failed = False  # then this process is about to end, whatever the others do
        self.turn = threading.Semaphore(0)
        self.progressed_at: float | None = None

    def run(self) -> None:
        interval = min(5, self._lost_after / 6)
        sent_at = 0.0
        while self._last_message:
            if time.monotonic() - sent_at >= interval:
                sent_at = time.monotonic()
                self.send("alive")
            indices = {self._peers[index]: index for index in self._last_message}
            for connection in wait(list(indices), timeout=interval):
                assert isinstance(connection, Connection)
                if self._has_failed:
                    return
                self._receive(indices[connection], connection)
            self._check_time(time.monotonic())

    def _check_time(self, now: float) -> None:
        for index, last in self._last_message.items():
            if now - last > self._lost_after:
                self._lose(index, f"sent nothing for {self._lost_after:g} s")
        progressed_at = self.progressed_at
        if progressed_at is not None and now - progressed_at > self._stuck_after:
            self._exit(
                f"is stuck: no step for {self._stuck_after:g} s (config.processes.stuck_after); "
                "its threads are in:",
                EXIT_LOST_PROCESS,
                faulthandler.dump_traceback,
            )

    def _receive(self, index: int, connection: Connection) -> None:
        try:
            message = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            self._lose(index, "has ended or its network is down")
        self._last_message[index] = time.monotonic()
        match message:
            case ["leaving"]:
                del self._last_message[index]
            case ["your turn"]:
                self.turn.release()
            case ["lost", lost, how]:
                self._lose(lost, how)
            case ["failed", failed, status]:
                self.send(*message)
                time.sleep(GRACE / 2)  # if this process fails too, it is about to say why
                self._exit(f"stops because process {failed} failed; see its message", status)

    def _lose(self, index: int, how: str) -> NoReturn:
        self._loss = (
            f"stops because process {index} {how}; "
            "run the same command again to resume from the newest checkpoint"
        )
        self._has_lost.set()
        self.send("lost", index, how)
        if index != 0:  # without process 0, JAX aborts this process at once
            time.sleep(GRACE)
        self._exit(self._loss, EXIT_LOST_PROCESS)

    def _exit(
        self, message: str, status: int, explain: Callable[[], None] = lambda: None
    ) -> NoReturn:
        try:
            sys.stderr.write(f"error: {self._process} {message}\n")
            sys.stderr.flush()
            explain()
        finally:  # also if nobody reads stderr any more
            os._exit(status)

    def raise_if_lost(self, within: float) -> None:
        if self._has_lost.wait(within):
            raise LostProcessError(f"{self._process} {self._loss}") from None

    def send(self, *message: str | int) -> None:
        with self._sending:
            for connection in self._peers.values():
                with contextlib.suppress(OSError):  # the next attempt to receive notices it
                    connection.send_bytes(json.dumps(message).encode())

    def fail(self, status: int) -> None:
        self._has_failed = True
        self.send("failed", self._process.index, status)

    def leave(self) -> None:
        self.send("leaving")
        self.join(self._lost_after)
