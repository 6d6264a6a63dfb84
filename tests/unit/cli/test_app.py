"""What a command says of its errors."""

from pathlib import Path

import pytest

from src.cli.app import run_command
from src.cli.flags import CommandFlags


def test_mistake_is_told_by_the_first_process_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("LOCAL_PROCESSES", "3")

    def told(process: str, *argv: str) -> bool:
        monkeypatch.setenv("LOCAL_PROCESS_ID", process)
        assert run_command(lambda: 0, CommandFlags(), None, argv) == 2
        return "error: " in capsys.readouterr().err

    assert told("2", "--wrong")
    assert not told("0", "--wrong")
    assert told("1", "--other")  # which no other process makes
    assert told("2", "--wrong")  # at a later launch


def test_mistake_is_told_where_no_file_can_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setenv("LOCAL_PROCESSES", "2")
    for process in ("0", "1"):
        monkeypatch.setenv("LOCAL_PROCESS_ID", process)
        assert run_command(lambda: 0, CommandFlags(), None, ["--wrong"]) == 2
        assert "error: " in capsys.readouterr().err
