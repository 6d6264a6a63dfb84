"""Trains in a process of its own, interrupts it, and damages its files."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import run, start
from tests.support.runs import arguments


def train(workdir: Path, cache: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("src.main", *arguments(workdir, cache, *more), cache=cache)


def interrupt(
    workdir: Path, cache: Path, number: signal.Signals, when: Callable[[], bool], *more: str
) -> tuple[int, str]:
    """Starts training, sends it a signal as soon as `when` holds, and waits for its end."""
    with start("src.main", *arguments(workdir, cache, *more), cache=cache) as process:
        while process.poll() is None and not when():
            time.sleep(0.002)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def copy_of(workdir: Path, to: Path) -> Path:
    """The run as it was before its result was written."""
    subprocess.run(["cp", "-r", workdir, to], check=True)
    (to / "result.json").unlink()
    return to


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
