"""Starts runs with launch/run.sh, waits for events in them, and interrupts them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.runs import steps_done

SOON = 240  # seconds that anything may take on a busy machine
STEPS = 24  # of a run on any mesh
LONG = (  # a run on the mesh of the run that it is compared with
    "--config.duration=60 steps",
    "--config.checkpoint_every=10 steps",
    "--config.evaluate_every=20 steps",
)


def command(workdir: Path, cache: Path, devices: int, *more: str) -> list[str]:
    """Returns a command line; the processes of a host share `devices` CPU devices."""
    return [
        "launch/run.sh",
        "--config=tests/support/pod_recipe.py",
        f"--workdir={workdir}",
        f"--config.data.root={cache / 'prepared'}",
        f"--config.duration={STEPS} steps",
        f"--cpu_devices={devices}",
        *more,
    ]


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
    """Waits for the training process with that PROCESS_ID; returns its process id."""
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


def pause(process: int) -> None:
    """Pauses a process, and so its run, until Slurm sends SIGCONT, as before every signal."""
    os.kill(process, signal.SIGSTOP)
    wait_for(lambda: _is_stopped(process))


def wait_until_signaled(paused: int) -> None:
    wait_for(lambda: not _is_stopped(paused))


def processes(file: str, text: str) -> list[int]:
    """Returns the ids of the processes whose /proc/…/FILE contains the text."""
    ids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [process for process in ids if text in _read(process, file)]


def _read(process: int, file: str) -> str:
    try:
        return Path(f"/proc/{process}/{file}").read_text(errors="replace")
    except OSError:  # the process has ended
        return ""


def _is_stopped(process: int) -> bool:
    return "State:\tT" in _read(process, "status")
