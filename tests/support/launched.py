"""Starts runs by launch/run.sh as several processes, and interferes with them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.runs import arguments, steps_done

SOON = 240  # seconds that anything may take on a busy machine
LENGTH = 60
RECIPE = (
    f"--config.duration={LENGTH} steps",
    "--config.checkpoint_every=10 steps",
    "--config.evaluate_every=20 steps",
)


def command(workdir: Path, cache: Path, devices: int, *more: str) -> list[str]:
    """The command line; the processes of a host share `devices` CPU devices."""
    flags = arguments(workdir, cache, *RECIPE, f"--cpu_devices={devices}", *more)
    return ["launch/run.sh", *flags]


@contextmanager
def started(command: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command with its output in a file; kills its process group on leaving."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=output, stderr=output, process_group=0
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], object], within: float = SOON) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.005)


def trainer(workdir: Path, index: int) -> int:
    """Waits for the process with that PROCESS_ID, and returns its id."""
    matches: list[int] = []

    def has_started() -> bool:
        matches.extend(
            process
            for process in processes("cmdline", f"--workdir={workdir}\0")
            if f"\0PROCESS_ID={index}\0" in "\0" + _read(process, "environ")
            and _read(process, "comm").startswith("python")
        )
        return bool(matches)

    wait_for(has_started)
    return matches[0]


def wait_for_steps(workdir: Path, steps: int) -> None:
    wait_for(lambda: steps_done(workdir) >= steps)


def hold(process: int) -> None:
    """Stops a process, and so its run, until Slurm sends SIGCONT, as it does before any signal."""
    os.kill(process, signal.SIGSTOP)
    wait_for(lambda: _is_stopped(process))


def wait_until_signalled(held: int) -> None:
    wait_for(lambda: not _is_stopped(held))


def processes(file: str, text: str) -> list[int]:
    """The processes whose /proc/…/FILE contains the text."""
    ids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [process for process in ids if text in _read(process, file)]


def _read(process: int, file: str) -> str:
    try:
        return Path(f"/proc/{process}/{file}").read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def _is_stopped(process: int) -> bool:
    return "State:\tT" in _read(process, "status")
