"""Whether the machine was busy with something else while it was measured."""

import os
import time
from pathlib import Path


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
