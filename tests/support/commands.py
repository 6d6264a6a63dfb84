"""Runs the commands as a user does, each in a process of its own."""

import contextlib
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from src.cli.app import run_command

ROOT = Path(__file__).parents[2]


def environment(cache: Path) -> dict[str, str]:
    """This one, and that compiled programs are kept, also the small ones."""
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHON": sys.executable,  # for launch/run.sh
    }


def start(module: str, *arguments: str | Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(module: str, *arguments: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    with start(module, *arguments, cache=cache) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def two_processes(
    code: str, *arguments: str | Path, cache: Path
) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes of a run that execute Python code; kills what is left of them on leaving."""
    common = {"COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "NUM_PROCESSES": "2"}
    with contextlib.ExitStack() as stack:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                cwd=ROOT,
                env={**environment(cache), **common, "JAX_PLATFORMS": "cpu", "PROCESS_ID": index},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in "01"
        ]
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        yield processes


def call(module: str, *arguments: str | Path) -> int:
    """Runs a command in this process; returns its exit status."""
    command = importlib.import_module(module)
    return run_command(command.main, command.FLAGS, command.__doc__, [*map(str, arguments)])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
