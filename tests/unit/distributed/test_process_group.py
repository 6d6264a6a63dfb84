"""How the processes of a run connect, or report why they cannot."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest
from ml_collections import ConfigDict

from src.distributed.environment import ProcessInfo
from src.distributed.process_group import ProcessGroup
from src.distributed.rendezvous import accept_peers, join_leader
from src.errors import JoinError
from tests.support.commands import free_port

TIMES = ConfigDict({"join_within": 0.5, "lost_after": 5, "stuck_after": 60})


def test_single_process_is_the_main_process() -> None:
    with ProcessGroup(ProcessInfo("", 1, 0), TIMES) as group:
        assert group.is_main_process
        assert group.first_then_others(lambda: "done") == "done"


def test_unreachable_coordinator_is_reported_with_the_timeout() -> None:
    coordinator = f"127.0.0.1:{free_port()}"
    message = rf"process 1 of 2 did not reach process 0 at {coordinator} within 0.5 s: .*refused"
    with (
        pytest.raises(JoinError, match=message),
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


STRANGERS = (b"GET / HTTP/1.1\r\n\r\n", b"5\n", b"[]\n", b"\xff\n", b"[" * 1023 + b"\n")


def accept_while(
    port: int,
    *greetings: tuple[int, int],
    within: float = 60,
    before: Callable[[], None] = lambda: None,
) -> list[Connection]:
    """Lets process 0 of 3 accept peers while others call; returns its final connections."""
    callers: list[Connection] = []

    def call() -> None:
        for message in STRANGERS:
            with connect(port) as stranger:
                stranger.sendall(message)
        before()
        callers.extend(greet(port, *greeting) for greeting in greetings)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        peers, _ = accept_peers(ProcessInfo(f"127.0.0.1:{port}", 3, 0), within=within, token="")
        assert peers.keys() == {1, 2}
        return [peers[1], peers[2]]
    finally:
        thread.join()
        for caller in callers:
            caller.close()


def test_absent_processes_are_reported() -> None:
    with pytest.raises(
        JoinError, match=r"process 0 of 3 waited 3 s at .*, but process 2 did not come"
    ):
        accept_while(free_port(), (1, 3), within=3)


def test_slow_incomplete_greeting_does_not_block_process_0() -> None:
    port = free_port()

    def call() -> None:
        with connect(port) as stranger, contextlib.suppress(OSError):  # process 0 hangs up
            while True:
                stranger.sendall(b"{")
                time.sleep(0.5)

    thread = threading.Thread(target=call)
    thread.start()
    with pytest.raises(JoinError, match="but processes 1, 2 did not come"):
        accept_peers(ProcessInfo(f"127.0.0.1:{port}", 3, 0), within=1, token="")
    thread.join()


def test_processes_of_other_runs_are_ignored() -> None:
    others = [(1, 2), (0, 3), (3, 3), (99, 3), (-1, 3)]
    for connection in accept_while(free_port(), *others, (1, 3), (2, 3)):
        connection.close()


def test_process_that_process_0_does_not_expect_is_told(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    errors: list[str] = []

    def join_with_another_count() -> None:
        try:
            join_leader(ProcessInfo(f"127.0.0.1:{port}", 2, 1), within=60)
        except JoinError as error:
            errors.append(str(error))

    thread = threading.Thread(target=join_with_another_count)
    thread.start()
    for connection in accept_while(port, (1, 3), (2, 3), before=thread.join):
        connection.close()
    assert "process 1 of 2 reached process 0" in errors[0]
    assert "which expects other processes" in errors[0]
    assert "process 0 of 3 ignores a caller from" in caplog.text


def test_port_in_use_where_jax_will_listen_is_reported() -> None:
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        process = ProcessInfo(f"127.0.0.1:{free_port()}", 2, 0, jax_port=port)
        with pytest.raises(JoinError, match=rf"cannot listen on port {port}: .* in JAX_PORT"):
            accept_peers(process, within=1, token="")


def test_restarted_process_replaces_its_old_connection() -> None:
    for connection in accept_while(free_port(), (1, 3), (1, 3), (2, 3)):
        connection.close()
