"""What a run will need, from a few of its steps."""

import re
from pathlib import Path

import pytest

from src.cli.app import run_command
from src.main import FLAGS, main
from tests.support import format1
from tests.support.runs import arguments


def test_dry_run_tells_memory_disk_and_time_and_keeps_nothing(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert run_command(main, FLAGS, None, [*arguments(workdir, cache), "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < 80
    lines = text.replace("\n" + " " * 10, " ").splitlines()
    lines = {line[:10].strip(): line[10:] for line in lines}
    assert lines["images"] == "digits: 1,437 to train, 360 to evaluate (test), 10 classes"
    assert re.match(r"[\d.]+ MB on each device, [\d.]+ MB for 8 of [\d.,]+ MB", lines["memory"])
    (parameters,) = re.findall(r"([\d,]+) parameters", lines["network"])
    size = 8 * int(parameters.replace(",", "")) / 1e6  # with velocities
    expected = rf"{size:.1f} MB a checkpoint; the 2 newest and the best are kept: {3 * size:.1f} MB"
    assert lines["disk"].startswith(expected)
    assert re.match(r"[\d.e-]+ s a step, [\d,]+ images/s: about .* with 2 eval", lines["time"])
    assert not workdir.exists()


def test_dry_run_refuses_what_training_would(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*arguments(format1.WORKDIR, cache), "--dry_run", "--config.seed=7"]
    assert run_command(main, FLAGS, None, argv) == 2
    assert re.search(
        r"its run has other settings: .*config\.seed was \d+ and is 7", capsys.readouterr().err
    )
