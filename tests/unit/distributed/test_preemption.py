"""Signals that stop a run, sent to this process."""

import os
import signal
from collections.abc import Iterator

import pytest

from src.distributed.preemption import SIGNALS, Preemption


@pytest.fixture
def hangup_is_ignored() -> Iterator[None]:
    """As nohup does."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_asks_to_stop(number: signal.Signals) -> None:
    with Preemption() as preempted:
        assert not preempted()
        os.kill(os.getpid(), number)
        assert preempted()


@pytest.mark.usefixtures("hangup_is_ignored")
def test_hangup_that_nohup_ignores_does_not_ask_to_stop() -> None:
    with Preemption() as preempted:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not preempted()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
