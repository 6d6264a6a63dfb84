"""What the numbers were measured on, and whether it was busy with something else."""

import contextlib
import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("jax", "jaxlib", "torch", "tensorflow-cpu", "tensorflow", "numpy", "simplejpeg")


def describe() -> dict[str, str]:
    """The date, the processor and the versions."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "versions": ", ".join(versions),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class OtherPrograms:
    """Counts the time that cores spend on other programs, from when it is made (on Linux)."""

    def __init__(self) -> None:
        self._since, self._then = time.perf_counter(), self._seconds()

    def cores(self) -> float:
        """How many cores they have used on average; NaN where that can't be known."""
        return max(0.0, self._seconds() - self._then) / (time.perf_counter() - self._since)

    @staticmethod
    def _seconds() -> float:
        try:
            user, nice, system, _idle, _wait, *interrupts_and_stolen = (
                int(ticks) / os.sysconf("SC_CLK_TCK")
                for ticks in Path("/proc/stat").read_text().split()[1:9]
            )
        except OSError:
            return float("nan")
        return user + nice + system + sum(interrupts_and_stolen) - sum(os.times()[:4])
