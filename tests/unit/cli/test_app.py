"""What a command says of its errors."""

import os

import pytest

from src.cli.app import run_command
from src.cli.flags import CommandFlags
from src.distributed.environment import process_info


@pytest.mark.parametrize("process", ["0", "1", "2"])
def test_mistake_of_all_processes_is_told_by_the_first_of_a_host(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_PROCESS_ID", process)
    assert run_command(lambda: 0, CommandFlags(), None, ["--wrong"]) == 2
    assert ("error: " in capsys.readouterr().err) == (process == "0")


def test_mistake_in_its_own_environment_is_told_by_each_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_PROCESS_ID", "1")
    for name, value in {"COORDINATOR_ADDRESS": "host:1", "NUM_PROCESSES": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PROCESS_ID", "2")
    flags = CommandFlags()
    assert run_command(lambda: bool(process_info(os.environ)), flags, None, []) == 2
    told = capsys.readouterr().err
    assert told == "error: PROCESS_ID=2: not in 0 … 1 (NUM_PROCESSES=2)\n"
    monkeypatch.setenv("LOCAL_PROCESSES", "two")
    assert run_command(lambda: 0, flags, None, []) == 2
    assert (
        capsys.readouterr().err == "error: LOCAL_PROCESSES=two: not a whole number of at least 1\n"
    )
