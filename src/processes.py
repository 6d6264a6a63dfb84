"""The processes of a run: how they come together, and how they notice that one was lost.

`launch/run.sh` tells each in its environment where process 0 listens (COORDINATOR_ADDRESS,
HOST:PORT), how many they are (NUM_PROCESSES) and which one it is (PROCESS_ID). Each of the others
keeps a connection to process 0, on which both say now and then that they are alive. JAX, too, has
heartbeats, but the end of one is an abort that names nobody; they are the second line of defence.
"""

import contextlib
import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import jax

from src.errors import JoinError, LostProcessError, UserError

CONTRACT = ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
ENGINES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
GRACE = 2  # seconds that a process which fails too has to tell its own story

ALIVE, YOUR_TURN, LEAVING, LOST = b"alive", b"your turn", b"leaving", b"lost "

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Place:
    """What a process was told of itself."""

    coordinator: str  # HOST:PORT, where process 0 listens
    count: int
    index: int

    def __str__(self) -> str:
        return f"process {self.index} of {self.count}"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def place(environment: Mapping[str, str]) -> Place:
    """Which process of how many this is; of one, where nothing was told.

    Raises:
      UserError: half of it was told, or it makes no sense, or an engine runs several processes that
        know nothing of one another.
    """
    told = {name: environment[name] for name in CONTRACT if environment.get(name)}
    if not told:
        for name in ENGINES:
            if int(environment.get(name, 1)) > 1:
                raise UserError(
                    f"{name}={environment[name]}: this process is one of several and was not told "
                    "where the others are; start it with launch/run.sh"
                )
        return Place("", 1, 0)
    if missing := [name for name in CONTRACT if name not in told]:
        given = " ".join(f"{name}={value}" for name, value in told.items())
        raise UserError(f"{given}: {' and '.join(missing)} not set; give all three or none")
    coordinator, count, index = told.values()
    if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
        raise UserError(f"COORDINATOR_ADDRESS={coordinator}: not of the form HOST:PORT")
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"NUM_PROCESSES={count}: not a positive number")
    if not index.isdecimal() or int(index) >= int(count):
        raise UserError(f"PROCESS_ID={index}: not one of 0 … {int(count) - 1} (NUM_PROCESSES)")
    return Place(coordinator, int(count), int(index))


def own_gpus(environment: Mapping[str, str]) -> list[int] | None:
    """Which of the GPUs that this process sees are its own: None for all.

    Those of the host are shared by its processes (LOCAL_PROCESSES, of which this is
    LOCAL_PROCESS_ID), but where an engine shows each process only its own.

    Raises:
      UserError: the processes can't share them evenly.
    """
    processes = int(environment.get("LOCAL_PROCESSES", 1))
    if processes == 1 or "SLURM_GPUS_PER_TASK" in environment:
        return None
    if "CUDA_VISIBLE_DEVICES" in environment:
        visible = len([gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu])
    else:
        visible = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if visible < processes:
        return None
    if visible % processes:
        raise UserError(
            f"LOCAL_PROCESSES={processes}: so many processes can't share {visible} GPUs evenly"
        )
    share = visible // processes
    first = int(environment["LOCAL_PROCESS_ID"]) * share
    return list(range(first, first + share))


class Team:
    """The processes of a run, entered by each of them; or the only one.

    Args:
      place: of this process.
      join_within: seconds until the processes must have come together.
      lost_after: seconds of silence after which a process counts as lost.
      stuck_after: seconds without a call of `progressed` after which this process counts as stuck.

    Raises:
      JoinError: on entering; they did not come together.
      LostProcessError: on leaving with an error that is only the consequence.
    """

    def __init__(self, place: Place, *, join_within: float, lost_after: float, stuck_after: float):
        self.place = place
        self._join_within = join_within
        self._lost_after = lost_after
        self._stuck_after = stuck_after
        self._watch: _Watch | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, the one that tells the user and writes files."""
        return self.place.index == 0

    def __enter__(self) -> Self:
        if self.place.count == 1:
            return self
        deadline = time.monotonic() + self._join_within
        if self.is_first:
            peers, jax_port = _gather(self.place, deadline, self._join_within)
        else:
            peers, jax_port = _knock(self.place, deadline, self._join_within)
        self._watch = _Watch(self.place, peers, self._lost_after, self._stuck_after)
        self._watch.start()
        jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
        jax.distributed.initialize(
            f"{self.place.coordinator.rpartition(':')[0]}:{jax_port}",
            self.place.count,
            self.place.index,
            local_device_ids=own_gpus(os.environ),
            cluster_detection_method="deactivate",  # launch/run.sh has looked already
            heartbeat_timeout_seconds=int(2 * self._lost_after) + 30,
            shutdown_timeout_seconds=int(self._lost_after) + 1,
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
        if error is not None and self.is_first:
            time.sleep(GRACE / 2)  # its end is that of all, who may be about to tell the same

    def in_turn(self, work: Callable[[], Outcome]) -> Outcome:
        """Does the work in process 0 first, and then in all others at once.

        On disks that they share, the others find it done.
        """
        if self._watch is None:
            return work()
        if not self.is_first:
            self._watch.turns.acquire()
        outcome = work()
        if self.is_first:
            self._watch.tell(YOUR_TURN)
        return outcome

    def progressed(self) -> None:
        """Says that this process is not stuck; the first time, that it could be from now on."""
        if self._watch is not None:
            self._watch.progressed_at = time.monotonic()


def _gather(place: Place, deadline: float, seconds: float) -> tuple[dict[int, Connection], int]:
    """Waits in process 0 for all others; then tells them JAX's port."""
    peers: dict[int, Connection] = {}
    try:
        has_ipv6 = socket.has_dualstack_ipv6()
        server = socket.create_server(
            ("", place.address[1]),
            family=socket.AF_INET6 if has_ipv6 else socket.AF_INET,
            dualstack_ipv6=has_ipv6,
        )
    except OSError as error:
        raise JoinError(
            f"{place} can't listen on port {place.address[1]}: {error.strerror}; give another "
            "one in COORDINATOR_ADDRESS"
        ) from None
    with server:
        while len(peers) < place.count - 1:
            server.settimeout(max(0.0, deadline - time.monotonic()) or 0.001)
            try:
                accepted, _ = server.accept()
            except TimeoutError:
                absent = sorted(set(range(1, place.count)) - peers.keys())
                raise JoinError(
                    f"{place} waited {seconds:g} s at {place.coordinator} in vain for "
                    f"{_named(absent)}"
                ) from None
            connection = _connection(accepted)
            with contextlib.suppress(EOFError, OSError, ValueError, KeyError):  # some other caller
                greeting = json.loads(_receive(connection, within=5))
                if greeting["count"] == place.count:
                    peers[greeting["index"]] = connection  # in the place of one that was restarted
                else:
                    raise JoinError(
                        f"process {greeting['index']} says that it is one of {greeting['count']}, "
                        f"not of {place.count}"
                    )
        with socket.create_server(("", 0)) as free:
            jax_port = free.getsockname()[1]
    for index, connection in peers.items():
        try:
            connection.send_bytes(json.dumps({"jax_port": jax_port}).encode())
        except OSError:
            raise JoinError(f"{place}: process {index} has come and gone again") from None
    return peers, jax_port


def _knock(place: Place, deadline: float, seconds: float) -> tuple[dict[int, Connection], int]:
    """Waits in another process for process 0, and then for all others to have come there."""
    told = False
    while True:
        try:
            connected = socket.create_connection(place.address, timeout=5)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise JoinError(
                    f"{place} waited {seconds:g} s in vain for process 0 at {place.coordinator}: "
                    f"{error}"
                ) from None
            if not told:
                print(
                    f"{place} waits for process 0 at {place.coordinator}, "
                    f"for {seconds:g} s at most",
                    file=sys.stderr,
                )
                told = True
            time.sleep(0.2)
    connection = _connection(connected)
    try:
        connection.send_bytes(json.dumps({"index": place.index, "count": place.count}).encode())
        welcome = json.loads(_receive(connection, within=deadline + 5 - time.monotonic()))
    except (EOFError, OSError, ValueError):
        raise JoinError(
            f"{place} found process 0 at {place.coordinator}, but it did not wait for all "
            f"{place.count}; its own message says why"
        ) from None
    return {0: connection}, welcome["jax_port"]


def _connection(connected: socket.socket) -> Connection:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.settimeout(None)
    return Connection(connected.detach())


def _receive(connection: Connection, within: float) -> bytes:
    if not connection.poll(within):
        raise TimeoutError
    return connection.recv_bytes(1 << 16)


def _named(indices: list[int]) -> str:
    shown = ", ".join(map(str, indices[:8])) + (" …" if len(indices) > 8 else "")
    return f"process{'es' * (len(indices) > 1)} {shown}"


class _Watch(threading.Thread):
    """Listens to the other processes, and ends this one when one of them is lost."""

    def __init__(
        self, place: Place, peers: dict[int, Connection], lost_after: float, stuck_after: float
    ):
        super().__init__(daemon=True)
        self._place = place
        self._peers = peers  # all the others in process 0, and that one in the others
        self._present = dict(peers)  # those that have not taken their leave
        self._lost_after = lost_after
        self._stuck_after = stuck_after
        self._sending = threading.Lock()
        self._has_lost = threading.Event()
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
                self._hear(indices[connection], connection)
                heard[indices[connection]] = time.monotonic()
            now = time.monotonic()
            for index in self._present:
                if now - heard[index] > self._lost_after:
                    self._lose(index, f"was not heard of for {self._lost_after:g} s")
            if self.progressed_at is not None and now - self.progressed_at > self._stuck_after:
                print(
                    f"error: {self._place} is stuck: no step for {self._stuck_after:g} s "
                    "(config.processes.stuck_after); what it was doing:",
                    file=sys.stderr,
                )
                faulthandler.dump_traceback()
                os._exit(LostProcessError.exit_status)

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

    def _lose(self, index: int, how: str) -> None:
        self._loss = (
            f"{self._place} stops since process {index} {how}; "
            "the same command goes on from the newest checkpoint"
        )
        self._has_lost.set()
        self.tell(LOST + f"{index} {how}".encode())
        if index != 0:  # without that one JAX aborts this one in no time
            time.sleep(GRACE)
        print(f"error: {self._loss}", file=sys.stderr, flush=True)
        os._exit(LostProcessError.exit_status)  # whatever the main thread is blocked in

    def raise_if_lost(self, within: float) -> None:
        if self._has_lost.wait(within):
            raise LostProcessError(self._loss) from None

    def tell(self, message: bytes) -> None:
        with self._sending:
            for connection in self._peers.values():
                with contextlib.suppress(OSError):  # will be noticed when it is listened to
                    connection.send_bytes(message)

    def leave(self) -> None:
        self.tell(LEAVING)
        self.join(self._lost_after)
