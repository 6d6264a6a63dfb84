"""How the processes of a run find one another, or say why they don't."""

import contextlib
import json
import re
import socket
import threading
import time
from multiprocessing.connection import Connection

import pytest
from ml_collections import ConfigDict

from src.distributed.devices import local_gpu_ids
from src.distributed.environment import ProcessInfo, process_info
from src.distributed.process_group import ProcessGroup
from src.distributed.rendezvous import accept_peers
from src.errors import JoinError, UserError
from tests.support.commands import free_port

THREE = {"COORDINATOR_ADDRESS": "host:29400", "NUM_PROCESSES": "4", "PROCESS_ID": "3"}
PATIENCE = ConfigDict({"join_within": 0.5, "lost_after": 5, "stuck_after": 60})


def test_a_process_that_was_told_nothing_is_alone() -> None:
    assert process_info({}).count == 1
    assert process_info({"SLURM_STEP_NUM_TASKS": "1"}).count == 1
    with ProcessGroup(process_info({}), PATIENCE) as group:
        assert group.is_main_process
        assert group.first_then_others(lambda: "done") == "done"


def test_a_process_knows_its_place() -> None:
    assert process_info(THREE) == ProcessInfo("host:29400", count=4, index=3)
    assert process_info(THREE | {"COORDINATOR_ADDRESS": "[::1]:80"}).address == ("::1", 80)


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"PROCESS_ID": "3"}, "PROCESS_ID=3: COORDINATOR_ADDRESS and NUM_PROCESSES not set"),
        (THREE | {"NUM_PROCESSES": ""}, "NUM_PROCESSES not set; give all three or none"),
        (THREE | {"PROCESS_ID": "4"}, "PROCESS_ID=4: not one of 0 … 3"),
        (THREE | {"PROCESS_ID": "one"}, "PROCESS_ID=one: not one of 0 … 3"),
        (THREE | {"NUM_PROCESSES": "0"}, "NUM_PROCESSES=0: not a positive number"),
        (THREE | {"COORDINATOR_ADDRESS": "host"}, "not of the form HOST:PORT"),
        (THREE | {"COORDINATOR_ADDRESS": "host:99999"}, "not of the form HOST:PORT"),
        ({"LOCAL_PROCESSES": "2"}, "one of several .* start it with launch/run.sh"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "one of several .* start it with launch/run.sh"),
        (
            {"PMI_SIZE": "", "OMPI_COMM_WORLD_SIZE": "2"},
            "one of several .* start it with launch/run.sh",
        ),
    ],
)
def test_half_of_a_contract_is_a_mistake(told: dict[str, str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        process_info(told)


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({}, None),
        ({"LOCAL_PROCESSES": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [2, 3]),
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, [1]),
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": "5"}, None),  # bound by the engine
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": ""}, None),  # on CPUs
        (
            {
                "LOCAL_PROCESSES": "2",
                "CUDA_VISIBLE_DEVICES": "0,1",
                "SLURM_GPUS_PER_TASK": "2",
            },
            None,
        ),
    ],
)
def test_processes_share_the_gpus_of_a_host(
    environment: dict[str, str], gpus: list[int] | None
) -> None:
    assert local_gpu_ids({"LOCAL_PROCESS_ID": "1", **environment}) == gpus


def test_gpus_that_cannot_be_shared_evenly_are_a_mistake() -> None:
    environment = {"LOCAL_PROCESSES": "2", "LOCAL_PROCESS_ID": "0", "CUDA_VISIBLE_DEVICES": "0,1,2"}
    with pytest.raises(UserError, match=r"LOCAL_PROCESSES=2: .* 3 GPUs"):
        local_gpu_ids(environment)


def test_a_coordinator_that_is_not_there_is_named_with_the_wait() -> None:
    coordinator = f"127.0.0.1:{free_port()}"
    with (
        pytest.raises(JoinError, match=rf"process 1 of 2 waited 0.5 s .* {coordinator}: .*refused"),
        ProcessGroup(ProcessInfo(coordinator, 2, 1), PATIENCE),
    ):
        pass


def test_a_name_that_does_not_resolve_is_named() -> None:
    with (
        pytest.raises(JoinError, match=r"process 1 of 2 waited .* nowhere\.invalid:1: .*"),
        ProcessGroup(ProcessInfo("nowhere.invalid:1", 2, 1), PATIENCE),
    ):
        pass


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(JoinError, match=rf"can't listen on port {port}: .*in use"),
            ProcessGroup(ProcessInfo(f"127.0.0.1:{port}", 2, 0), PATIENCE),
        ):
            pass


def greet(port: int, index: int, count: int) -> Connection:
    while True:
        with contextlib.suppress(OSError):
            connected = socket.create_connection(("127.0.0.1", port))
            break
        time.sleep(0.01)
    connected.sendall(json.dumps({"index": index, "count": count}).encode() + b"\n")
    return Connection(connected.detach())


def gather_while(port: int, *greetings: tuple[int, int]) -> list[Connection]:
    """Lets process 0 of 3 wait while others come to it; gives what it holds in the end."""
    callers: list[Connection] = []

    def call() -> None:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"5\n", b"[]\n", b"\xff\n"):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(said)
        callers.extend(greet(port, *greeting) for greeting in greetings)

    def call_when_it_listens() -> None:
        time.sleep(0.1)
        call()

    thread = threading.Thread(target=call_when_it_listens)
    thread.start()
    try:
        gathered = accept_peers(
            ProcessInfo(f"127.0.0.1:{port}", 3, 0), time.monotonic() + 3, seconds=3, token=""
        )
        return [gathered[0][1], gathered[0][2]]
    finally:
        thread.join()
        for caller in callers:
            caller.close()


def test_processes_that_do_not_come_are_named() -> None:
    with pytest.raises(JoinError, match=r"process 0 of 3 waited 3 s .* for process 2"):
        gather_while(free_port(), (1, 3))


def test_half_a_greeting_does_not_keep_process_0_waiting() -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:

        def call() -> None:
            time.sleep(0.1)
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            stranger.sendall(b'{"index"')

        thread = threading.Thread(target=call)
        thread.start()
        with pytest.raises(JoinError, match="in vain for processes 1, 2"):
            accept_peers(
                ProcessInfo(f"127.0.0.1:{port}", 3, 0), time.monotonic() + 1, seconds=1, token=""
            )
        thread.join()


def test_processes_that_disagree_on_their_number_are_told() -> None:
    message = re.escape("process 1 says that it is one of 2, not of 3")
    with pytest.raises(JoinError, match=message):
        gather_while(free_port(), (1, 2))


def test_a_process_that_was_started_again_takes_its_own_place() -> None:
    for connection in gather_while(free_port(), (1, 3), (1, 3), (2, 3)):
        connection.close()
