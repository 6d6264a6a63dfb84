"""The processes of a run: how they start and end together, and notice that one was lost.

Each of the others keeps a connection to process 0, on which both say now and then that they are
alive. JAX, too, has heartbeats, but the end of one is an abort that names nobody; they are the
second line of defence.
"""

import contextlib
import faulthandler
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import jax
from ml_collections import ConfigDict

from ..errors import LostProcessError
from .devices import local_gpu_ids
from .environment import ProcessInfo
from .rendezvous import accept_peers, connect, join_leader

GRACE = 2  # seconds that a process which fails too has to tell its own story

ALIVE, YOUR_TURN, LEAVING = b"alive", b"your turn", b"leaving"
LOST, FAILED = b"lost ", b"failed "  # followed by the process and how, or its exit status

Outcome = TypeVar("Outcome")


class ProcessGroup:
    """The processes of a run, entered by each of them; or the only one.

    Args:
      process: which one this is.
      join_within: seconds until the processes must have come together.
      lost_after: seconds of silence after which a process counts as lost.
      stuck_after: seconds without a call of `report_progress` after which this one counts as stuck.

    Raises:
      JoinError: on entering; they did not come together.
      LostProcessError: on leaving with an error that is only the consequence.
    """

    def __init__(self, process: ProcessInfo, section: ConfigDict):
        self.process = process
        self._join_within = section.join_within
        self._lost_after = section.lost_after
        self._stuck_after = section.stuck_after
        self._watch: _Watch | None = None
        self.token = secrets.token_hex(8)  # the same in all processes, and in no other run

    @property
    def is_main_process(self) -> bool:
        """Whether this is process 0, the one that tells the user and writes files."""
        return self.process.index == 0

    def __enter__(self) -> Self:
        if self.process.count == 1:
            return self
        deadline = time.monotonic() + self._join_within
        if self.is_main_process:
            peers, welcome = accept_peers(self.process, deadline, self._join_within, self.token)
        else:
            peers, welcome = join_leader(self.process, deadline, self._join_within)
            self.token = welcome["token"]
        self._watch = _Watch(self.process, peers, self._lost_after, self._stuck_after)
        self._watch.start()
        jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
        host, _, _ = self.process.coordinator.rpartition(":")
        jax_address = f"{host}:{welcome['jax_port']}"
        if not self.is_main_process:  # JAX would wait for five minutes and abort
            of_jax = replace(self.process, coordinator=jax_address)
            connect(of_jax, max(deadline, time.monotonic() + 5), self._join_within).close()
        jax.distributed.initialize(
            jax_address,
            self.process.count,
            self.process.index,
            local_device_ids=local_gpu_ids(os.environ),
            cluster_detection_method="deactivate",  # launch/run.sh has looked already
            heartbeat_timeout_seconds=int(2 * self._lost_after) + 30,
            shutdown_timeout_seconds=int(self._stuck_after),  # the watch notices a lost one sooner
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watch is None:
            return
        if error is None:
            self._watch.progressed_at = None
            jax.distributed.shutdown()
            self._watch.leave()
        if isinstance(error, Exception) and not hasattr(error, "exit_status"):
            self._watch.raise_if_lost(within=GRACE / 2)
        if error is not None:
            self._watch.fail(getattr(error, "exit_status", 1))
        if error is not None and self.is_main_process:
            time.sleep(GRACE)  # its end is that of all, who may be about to tell the same

    def first_then_others(self, work: Callable[[], Outcome]) -> Outcome:
        """Does the work in process 0 first, and then in all others at once.

        On disks that they share, the others find it done.
        """
        if self._watch is None:
            return work()
        if not self.is_main_process:
            self._watch.turns.acquire()
        outcome = work()
        if self.is_main_process:
            self._watch.tell(YOUR_TURN)
        return outcome

    def report_progress(self) -> None:
        """Says that this process is not stuck; the first time, that it could be from now on."""
        if self._watch is not None:
            self._watch.progressed_at = time.monotonic()


class _Watch(threading.Thread):
    """Listens to the other processes, and ends this one when one of them is lost."""

    def __init__(
        self,
        process: ProcessInfo,
        peers: dict[int, Connection],
        lost_after: float,
        stuck_after: float,
    ):
        super().__init__(daemon=True)
        self.process = process
        self._peers = peers  # all the others in process 0, and that one in the others
        self._present = dict(peers)  # those that have not taken their leave
        self._lost_after = lost_after
        self._stuck_after = stuck_after
        self._sending = threading.Lock()
        self._has_lost = threading.Event()
        self._has_failed = False  # and is about to end, whatever becomes of the others
        self._loss = ""
        self.turns = threading.Semaphore(0)
        self.progressed_at: float | None = None

    def run(self) -> None:
        beat = min(5, self._lost_after / 6)
        heard = dict.fromkeys(self._present, time.monotonic())
        told_at = 0.0
        while self._present:
            if time.monotonic() - told_at >= beat:
                told_at = time.monotonic()
                self.tell(ALIVE)
            indices = {connection: index for index, connection in self._present.items()}
            for connection in wait(list(indices), timeout=beat):
                assert isinstance(connection, Connection)
                if self._has_failed:
                    return
                self._hear(indices[connection], connection)
                heard[indices[connection]] = time.monotonic()
            now = time.monotonic()
            for index in self._present:
                if now - heard[index] > self._lost_after:
                    self._lose(index, f"was not heard of for {self._lost_after:g} s")
            progressed_at = self.progressed_at
            if progressed_at is not None and now - progressed_at > self._stuck_after:
                self._end(
                    f"{self.process} is stuck: no step for {self._stuck_after:g} s "
                    "(config.processes.stuck_after); what it was doing:",
                    LostProcessError.exit_status,
                    faulthandler.dump_traceback,
                )

    def _hear(self, index: int, connection: Connection) -> None:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            self._lose(index, "has ended, or its network has")
            return
        if message == LEAVING:
            del self._present[index]
        elif message == YOUR_TURN:
            self.turns.release()
        elif message.startswith(LOST):
            lost, _, how = message.removeprefix(LOST).decode().partition(" ")
            self._lose(int(lost), how)
        elif message.startswith(FAILED):
            failed, status = map(int, message.removeprefix(FAILED).split())
            self.tell(message)
            time.sleep(GRACE / 2)  # if this one fails too, it is about to tell why
            self._end(
                f"{self.process} stops since process {failed} failed; its own message says why",
                status,
            )

    def _lose(self, index: int, how: str) -> None:
        self._loss = (
            f"{self.process} stops since process {index} {how}; "
            "the same command goes on from the newest checkpoint"
        )
        self._has_lost.set()
        self.tell(LOST + f"{index} {how}".encode())
        if index != 0:  # without that one JAX aborts this one in no time
            time.sleep(GRACE)
        self._end(self._loss, LostProcessError.exit_status)

    @staticmethod
    def _end(message: str, status: int, explain: Callable[[], None] = lambda: None) -> NoReturn:
        try:
            print(f"error: {message}", file=sys.stderr, flush=True)
            explain()
        finally:  # also where nobody reads stderr any more
            os._exit(status)  # whatever the main thread is blocked in

    def raise_if_lost(self, within: float) -> None:
        if self._has_lost.wait(within):
            raise LostProcessError(self._loss) from None

    def tell(self, message: bytes) -> None:
        with self._sending:
            for connection in self._peers.values():
                with contextlib.suppress(OSError):  # will be noticed when it is listened to
                    connection.send_bytes(message)

    def fail(self, status: int) -> None:
        self._has_failed = True
        self.tell(FAILED + f"{self.process.index} {status}".encode())

    def leave(self) -> None:
        self.tell(LEAVING)
        self.join(self._lost_after)
