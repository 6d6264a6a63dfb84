"""Signals that stop a run, sent to this process."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from src.distributed.preemption import SIGNALS, Preemption
from tests.support.commands import ROOT


@pytest.fixture
def hangup_is_ignored() -> Iterator[None]:
    """As nohup does."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, handler)


@pytest.fixture
def hangup_is_not_ignored() -> Iterator[None]:
    """Whatever started the tests, such as nohup."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, handler)


@pytest.mark.usefixtures("hangup_is_not_ignored")
@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_asks_to_stop(number: signal.Signals) -> None:
    with Preemption() as preempted:
        assert not preempted()
        os.kill(os.getpid(), number)
        assert preempted()


def test_progress_is_reported_at_each_call_and_is_not_due_after_the_end() -> None:
    reports: list[bool] = []
    with Preemption(reports.append) as preempted:
        preempted()
        preempted()
    assert reports == [True, True, False]


@pytest.mark.usefixtures("hangup_is_ignored")
def test_hangup_that_nohup_ignores_does_not_ask_to_stop() -> None:
    with Preemption() as preempted:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not preempted()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("hangup_is_not_ignored")
@pytest.mark.skipif(shutil.which("setsid") is None, reason="there is no setsid")
def test_closed_terminal_asks_to_stop_and_keeps_the_exit_status() -> None:
    code = """
import sys, time
from src.distributed.preemption import Preemption
with Preemption() as preempted:
    print("ready", flush=True)
    while not preempted():
        time.sleep(0.01)
print("saved", flush=True)
sys.exit(75)
"""
    master, terminal = os.openpty()
    command = ["setsid", "--ctty", sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    with open(master) as output:
        while "ready" not in output.readline():
            assert process.poll() is None
    assert process.wait(60) == 75


def test_second_signal_seconds_later_ends_the_run_without_saving() -> None:
    stop = """
import os, signal, time
from src.distributed.preemption import Preemption
with Preemption() as preempted:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # the same request, come another way
    assert preempted()
    preempted._requested_at -= 6
    os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", stop], cwd=ROOT, check=False, timeout=60)
    assert ended.returncode == 128 + signal.SIGTERM
