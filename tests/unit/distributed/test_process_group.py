"""How the processes of a run connect, or report why they cannot."""

import contextlib
import json
import re
import socket
import threading
import time
from multiprocessing.connection import Connection

import pytest
from ml_collections import ConfigDict

from src.distributed.environment import ProcessInfo
from src.distributed.process_group import ProcessGroup
from src.distributed.rendezvous import accept_peers
from src.errors import JoinError
from tests.support.commands import free_port

TIMES = ConfigDict({"join_within": 0.5, "lost_after": 5, "stuck_after": 60})


def test_single_process_is_the_main_process() -> None:
    with ProcessGroup(ProcessInfo("", 1, 0), TIMES) as group:
        assert group.is_main_process
        assert group.first_then_others(lambda: "done") == "done"


def test_unreachable_coordinator_is_reported_with_the_timeout() -> None:
    coordinator = f"127.0.0.1:{free_port()}"
    with (
        pytest.raises(
            JoinError, match=rf"did not reach process 0 at {coordinator} within 0.5 s: .*refused"
        ),
        ProcessGroup(ProcessInfo(coordinator, 2, 1), TIMES),
    ):
        pass


def test_unresolvable_host_name_is_reported() -> None:
    with (
        pytest.raises(
            JoinError, match=r"process 1 of 2 did not reach .* nowhere\.invalid:1 .*: .*"
        ),
        ProcessGroup(ProcessInfo("nowhere.invalid:1", 2, 1), TIMES),
    ):
        pass


def test_port_in_use_is_reported() -> None:
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(JoinError, match=rf"cannot listen on port {port}: .*in use"),
            ProcessGroup(ProcessInfo(f"127.0.0.1:{port}", 2, 0), TIMES),
        ):
            pass


def connect(port: int) -> socket.socket:
    """Connects to process 0 as soon as it listens."""
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port))
        time.sleep(0.01)


def greet(port: int, index: int, count: int) -> Connection:
    connected = connect(port)
    connected.sendall(json.dumps({"index": index, "count": count}).encode() + b"\n")
    return Connection(connected.detach())


def accept_while(port: int, *greetings: tuple[int, int], within: float = 60) -> list[Connection]:
    """Lets process 0 of 3 accept peers while others call; returns its final connections."""
    callers: list[Connection] = []

    def call() -> None:
        for message in (b"GET / HTTP/1.1\r\n\r\n", b"5\n", b"[]\n", b"\xff\n"):
            with connect(port) as stranger:
                stranger.sendall(message)
        callers.extend(greet(port, *greeting) for greeting in greetings)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        peers = accept_peers(ProcessInfo(f"127.0.0.1:{port}", 3, 0), within=within, token="")
        return [peers[0][1], peers[0][2]]
    finally:
        thread.join()
        for caller in callers:
            caller.close()


def test_absent_processes_are_reported() -> None:
    with pytest.raises(
        JoinError, match=r"process 0 of 3 waited 3 s at .*, but process 2 did not come"
    ):
        accept_while(free_port(), (1, 3), within=3)


def test_incomplete_greeting_does_not_block_process_0() -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:

        def call() -> None:
            stranger = stack.enter_context(connect(port))
            stranger.sendall(b'{"index"')

        thread = threading.Thread(target=call)
        thread.start()
        with pytest.raises(JoinError, match="but processes 1, 2 did not come"):
            accept_peers(ProcessInfo(f"127.0.0.1:{port}", 3, 0), within=1, token="")
        thread.join()


def test_processes_with_different_process_counts_are_rejected() -> None:
    message = re.escape("process 1 expects 2 processes, not 3")
    with pytest.raises(JoinError, match=message):
        accept_while(free_port(), (1, 2))


def test_restarted_process_replaces_its_old_connection() -> None:
    for connection in accept_while(free_port(), (1, 3), (1, 3), (2, 3)):
        connection.close()
