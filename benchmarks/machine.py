"""The machine, and how busy other programs keep it during a measurement."""

import os
import time
from pathlib import Path
from typing import Any

from src.runs.system_info import describe_system

CORES = 2  # that every measurement uses


class OtherPrograms:
    """Counts the CPU time of other programs since its creation (on Linux)."""

    def __init__(self) -> None:
        self._since, self._then = time.perf_counter(), self._seconds()

    def cores(self) -> float:
        """The average number of cores they used; NaN where /proc/stat is missing."""
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


class Session:
    """The machine from the first measurement to the last."""

    def __init__(self) -> None:
        self._system, self._others = describe_system(), OtherPrograms()

    def describe(self, rounds: int) -> dict[str, Any]:
        """The machine, the versions, and the load by other programs."""
        measured = (
            f"on {CORES} cores, {rounds} rounds; "
            f"meanwhile other programs used {self._others.cores():.2f} cores"
        )
        return {**self._system, "measured": measured}
