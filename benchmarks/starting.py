"""The time from the command to the first step of training on the digits.

    python -m benchmarks.starting

It takes half a minute. The first run prepares the digits and compiles; the second finds both.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import worker


def main() -> dict[str, Any]:
    """Starts two runs, one after the other, and ends each at its first line of metrics."""
    argparse.ArgumentParser().parse_args()
    with tempfile.TemporaryDirectory() as directory:
        names = ("first", "second")
        return {f"{name}_seconds": first_step(Path(directory), name) for name in names}


def first_step(directory: Path, name: str) -> float:
    """Seconds until the metrics of the first step are written."""
    workdir = directory / name
    command = [sys.executable, "-m", "src.main", "--config=small", f"--workdir={workdir}"]
    fields = {"data.root": directory / "prepared", "log_every": 1}
    environment = os.environ | {"XDG_CACHE_HOME": str(directory / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    metrics, started = workdir / "metrics.jsonl", time.perf_counter()
    with subprocess.Popen(
        [*command, *(f"--config.{field}={value}" for field, value in fields.items())],
        env=environment,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                raise RuntimeError(f"{command}: ended with status {process.returncode}")
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        process.kill()
    return seconds


if __name__ == "__main__":
    worker.report(main)
