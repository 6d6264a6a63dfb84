"""How the processes of a run come together at process 0, whose address all were told."""

import contextlib
import json
import socket
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from ..errors import JoinError
from .environment import ProcessInfo


def accept_peers(
    process: ProcessInfo, deadline: float, seconds: float, token: str
) -> tuple[dict[int, Connection], dict[str, Any]]:
    """Waits in process 0 for all others; then tells them JAX's port and the token."""
    peers: dict[int, Connection] = {}
    try:
        has_ipv6 = socket.has_dualstack_ipv6()
        server = socket.create_server(
            ("", process.address[1]),
            family=socket.AF_INET6 if has_ipv6 else socket.AF_INET,
            dualstack_ipv6=has_ipv6,
        )
    except OSError as error:
        raise JoinError(
            f"{process} can't listen on port {process.address[1]}: {error.strerror}; give another "
            "one in COORDINATOR_ADDRESS"
        ) from None
    with server:
        told_at = time.monotonic() + 2
        while len(peers) < process.count - 1:
            now = time.monotonic()
            server.settimeout(max(0.001, min(deadline, told_at) - now))
            try:
                accepted, _ = server.accept()
            except TimeoutError:
                absent = _named(sorted(set(range(1, process.count)) - peers.keys()))
                if time.monotonic() >= deadline:
                    raise JoinError(
                        f"{process} waited {seconds:g} s at {process.coordinator} in vain for {absent}"
                    ) from None
                print(
                    f"{process} waits at {process.coordinator} for {absent}, for {seconds:g} s at most",
                    file=sys.stderr,
                )
                told_at = deadline
                continue
            accepted.settimeout(max(0.001, min(5, deadline - time.monotonic())))
            # Some other caller says anything, or half of it, or nothing.
            with accepted, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                greeting = json.loads(_line(accepted))
                connection = _connection(accepted)
                if greeting["count"] == process.count:
                    peers[greeting["index"]] = connection  # in the place of one that was restarted
                else:
                    raise JoinError(
                        f"process {greeting['index']} says that it is one of {greeting['count']}, "
                        f"not of {process.count}"
                    )
        with socket.create_server(("", 0)) as free:
            jax_port = free.getsockname()[1]
    welcome = {"jax_port": jax_port, "token": token}
    for index, connection in peers.items():
        try:
            connection.send_bytes(json.dumps(welcome).encode())
        except OSError:
            raise JoinError(f"{process}: process {index} has come and gone again") from None
    return peers, welcome


def join_leader(
    process: ProcessInfo, deadline: float, seconds: float
) -> tuple[dict[int, Connection], dict[str, Any]]:
    """Waits in another process for process 0, and then for all others to have come there."""
    connected = connect(process, deadline, seconds)
    try:
        greeting = {"index": process.index, "count": process.count}
        connected.sendall(json.dumps(greeting).encode() + b"\n")
        connection = _connection(connected)
        welcome = json.loads(_receive(connection, within=deadline + 5 - time.monotonic()))
    except (EOFError, OSError, ValueError):
        raise JoinError(
            f"{process} found process 0 at {process.coordinator}, but it did not wait for all "
            f"{process.count}; its own message says why"
        ) from None
    return {0: connection}, welcome


def connect(process: ProcessInfo, deadline: float, seconds: float) -> socket.socket:
    """Tries until the deadline to reach what listens in process 0."""
    told = False
    while True:
        try:
            return socket.create_connection(process.address, timeout=5)
        except (OSError, UnicodeError) as error:
            if time.monotonic() > deadline:
                raise JoinError(
                    f"{process} waited {seconds:g} s in vain for process 0 at {process.coordinator}: "
                    f"{error}"
                ) from None
            if not told:
                print(
                    f"{process} waits for process 0 at {process.coordinator}, "
                    f"for {seconds:g} s at most",
                    file=sys.stderr,
                )
                told = True
            time.sleep(0.2)


def _line(caller: socket.socket) -> bytes:
    with caller.makefile("rb") as file:
        return file.readline(1 << 10)


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
