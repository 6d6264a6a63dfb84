"""What the command refuses before it trains anything."""

from pathlib import Path

import pytest

from src.cli.app import run_command
from src.experiment.__main__ import FLAGS, main


def test_a_smoke_test_cannot_be_declared_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.experiment.__main__.exit_on_signal", lambda: None)
    argv = ["--config=lrn:digits", "--config.smoke=False", f"--workdir={tmp_path / 'runs'}"]
    assert run_command(main, FLAGS, None, argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: config.smoke: only the experiment's file can set it")
    assert not (tmp_path / "runs").exists()
