"""Rendezvous: the processes of a run connect to process 0, whose address they all know."""

import contextlib
import json
import logging
import socket
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from ..errors import JoinError, list_names
from .environment import ProcessInfo

logger = logging.getLogger(__name__)


def accept_peers(
    process: ProcessInfo, within: float, token: str
) -> tuple[dict[int, Connection], dict[str, Any]]:
    """Waits in process 0 for all others; then sends them the welcome: JAX's port and the token.

    Ignores callers that are none of the others. Raises JoinError if a port is in use, or if not all
    others connect within that many seconds.
    """
    deadline = time.monotonic() + within
    notice_at = time.monotonic() + 2
    peers: dict[int, Connection] = {}
    with (
        _listen(process, process.address[1], "COORDINATOR_ADDRESS") as server,
        _listen(process, process.jax_port, "JAX_PORT") as jax_server,  # JAX will take its place
    ):
        welcome = {"jax_port": jax_server.getsockname()[1], "token": token}
        while absent := sorted(set(range(1, process.count)) - peers.keys()):
            server.settimeout(max(0.001, min(deadline, notice_at) - time.monotonic()))
            try:
                caller, address = server.accept()
            except TimeoutError:
                names = f"process{'es' * (len(absent) > 1)} {list_names(absent, 8)}"
                here = process.coordinator
                if time.monotonic() >= deadline:
                    message = f"{process} waited {within:g} s at {here}, but {names} did not come"
                    raise JoinError(message) from None
                logger.info("%s waits at %s for %s, at most %g s", process, here, names, within)
                notice_at = deadline
                continue
            if identified := _identify(caller, process, min(5, deadline - time.monotonic())):
                peers |= identified  # a restarted process replaces itself
            else:
                logger.warning("%s ignores a caller from %s: no process of it", process, address[0])
    for index, connection in peers.items():
        try:
            connection.send_bytes(json.dumps(welcome).encode())
        except OSError:
            raise JoinError(f"{process}: process {index} came, but has ended since") from None
    return peers, welcome


def join_leader(process: ProcessInfo, within: float) -> tuple[Connection, dict[str, Any]]:
    """Connects another process to process 0, and waits for the welcome.

    Raises:
      JoinError: process 0 cannot be reached, or ends before all processes have connected.
    """
    deadline = time.monotonic() + within
    leader = connect(process, within)
    try:
        greeting = {"index": process.index, "count": process.count}
        leader.sendall(json.dumps(greeting).encode() + b"\n")
        connection = _to_connection(leader)
        if not connection.poll(deadline + 5 - time.monotonic()):
            raise TimeoutError
        return connection, json.loads(connection.recv_bytes(1 << 16))
    except (EOFError, OSError, ValueError):
        raise JoinError(
            f"{process} reached process 0 at {process.coordinator}, which expects other processes "
            f"or ended before all {process.count} had come; see its own message"
        ) from None


def connect(process: ProcessInfo, within: float) -> socket.socket:
    """Tries for that many seconds to reach process 0; raises JoinError if nothing listens there."""
    deadline = time.monotonic() + within
    target = f"process 0 at {process.coordinator}"
    is_first = True
    while True:
        try:
            return socket.create_connection(process.address, timeout=5)
        except (OSError, UnicodeError) as error:
            if time.monotonic() > deadline:
                message = f"{process} did not reach {target} within {within:g} s: {error}"
                raise JoinError(message) from None
        if is_first:
            logger.info("%s waits for %s, at most %g s", process, target, within)
            is_first = False
        time.sleep(0.2)


def _listen(process: ProcessInfo, port: int, variable: str) -> socket.socket:
    has_ipv6 = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if has_ipv6 else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=has_ipv6)
    except OSError as error:
        raise JoinError(
            f"{process} cannot listen on port {port}: {error.strerror}; choose another one in "
            f"{variable}"
        ) from None


def _identify(caller: socket.socket, process: ProcessInfo, within: float) -> dict[int, Connection]:
    """Returns the index and connection of a process; {} for a caller that is none of the others."""
    with caller, contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        # The socket's own timeout would start anew with each byte.
        limit = threading.Timer(within, caller.shutdown, [socket.SHUT_RDWR])
        limit.start()
        try:
            with caller.makefile("rb") as file:
                greeting = json.loads(file.readline(1 << 10))
        finally:
            limit.cancel()
        index, count = greeting["index"], greeting["count"]
        if count == process.count and index in range(1, count):
            return {index: _to_connection(caller)}
    return {}


def _to_connection(connected: socket.socket) -> Connection:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.settimeout(None)
    return Connection(connected.detach())
