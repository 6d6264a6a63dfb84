"""Two processes of a group, which do not train."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.errors import EXIT_LOST_PROCESS
from tests.support.commands import two_processes
from tests.support.launched import SOON

pytestmark = pytest.mark.slow

LIMIT = 6  # seconds, for `lost_after` and `stuck_after`
CODE = f"""
import os
from ml_collections import ConfigDict
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
times = ConfigDict({{"join_within": {SOON}, "lost_after": {LIMIT}, "stuck_after": {LIMIT}}})
with ProcessGroup(process_info(os.environ), times) as group:
    group.report_progress()
    print("ready", flush=True)
    input()
    group.first_then_others(lambda: None)
"""


@contextmanager
def ready_processes(cache: Path) -> Iterator[Sequence[subprocess.Popen[str]]]:
    with two_processes(CODE, cache=cache) as processes:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()
        yield processes


def test_group_survives_its_suspension(cache: Path) -> None:
    with ready_processes(cache) as processes:
        for number, seconds in ((signal.SIGSTOP, LIMIT + 1), (signal.SIGCONT, 0)):
            for process in processes:
                os.kill(process.pid, number)
            time.sleep(seconds)
        for process in processes:
            print(file=process.stdin, flush=True)
        errors = [process.communicate(timeout=SOON)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors


@pytest.mark.parametrize("suspended", [0, 1])
def test_process_that_wakes_after_the_others_have_ended_says_why_it_ends(
    suspended: int, cache: Path
) -> None:
    with ready_processes(cache) as processes:
        os.kill(processes[suspended].pid, signal.SIGSTOP)
        statuses = [processes[1 - suspended].wait(SOON)]
        os.kill(processes[suspended].pid, signal.SIGCONT)
        statuses.append(processes[suspended].wait(SOON))
        assert processes[suspended].stderr is not None
        errors = processes[suspended].stderr.read()
    assert statuses == [EXIT_LOST_PROCESS] * 2, errors
    assert f"error: process {suspended} of 2 stops because it sent nothing for {LIMIT} s" in errors
