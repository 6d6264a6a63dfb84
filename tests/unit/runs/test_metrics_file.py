"""Metrics are read and kept although a crash has damaged their file."""

import json
import logging
from pathlib import Path

import pytest

from src.runs.metrics_file import NAME, keep_metrics, metrics_checksum, read_metrics

LINES = [{"step": step, "split": "train", "loss": 1.5} for step in (1, 2, 3)]
ONE, TWO, THREE = (json.dumps(line) + "\n" for line in LINES)


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (ONE + TWO + THREE, [1, 2, 3]),
        (ONE + "\0" * 50, [1]),
        (ONE + "\0" * 50 + "\n" + TWO, [1, 2]),
        (ONE + "\0" * 50 + TWO, [1, 2]),
        (ONE + TWO[:10], [1]),
        (ONE + TWO.rstrip(), [1]),
        (ONE + "\n" + TWO, [1, 2]),
        ("", []),
    ],
)
def test_lines_that_a_crash_spared_are_read_and_kept(
    content: str, steps: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_text(content)
    assert [line["step"] for line in read_metrics(tmp_path)] == steps
    keep_metrics(tmp_path, lambda _: True)
    kept = "".join([ONE, TWO, THREE][step - 1] for step in steps)
    assert (tmp_path / NAME).read_text() == kept
    assert not caplog.records


@pytest.mark.parametrize("line", ['{"step": 7, "spl', "[1]", "7", "{}", "\ufffd"])
def test_damaged_line_is_left_out_and_logged(
    line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_text(f"{ONE}{line}\n{TWO}")
    with caplog.at_level(logging.WARNING):
        assert read_metrics(tmp_path) == LINES[:2]
    (record,) = caplog.records
    assert f"left out a damaged line: {line}" in record.getMessage()


@pytest.mark.parametrize("damaged", [ONE, ONE.replace("1.5", "1.6") + TWO, TWO, None])
def test_lost_or_changed_lines_are_told_and_the_file_is_set_aside(
    damaged: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / NAME
    path.write_text(ONE + TWO)
    checksum = metrics_checksum(tmp_path)
    path.write_text(ONE + TWO + THREE)
    keep_metrics(tmp_path, lambda line: line["step"] <= 2, checksum)
    assert not caplog.records
    path.unlink() if damaged is None else path.write_text(damaged)
    keep_metrics(tmp_path, lambda line: line["step"] <= 2, checksum)
    assert "lines of earlier steps are missing or damaged" in caplog.text
    if damaged:
        assert (tmp_path / "damaged" / NAME).read_text() == damaged


def test_metrics_that_are_being_written_are_read_up_to_there(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
