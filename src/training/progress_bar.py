"""What training shows on stderr: lines that stay, and below them a progress bar."""

import sys
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm


class ProgressBar(tqdm):
    """Counts steps; its estimate gives each remaining step the mean time so far, pauses included.

    In a file or a pipe, each update is a line.

    Args:
      total: steps of one run, or of several, one after the other.
      shown: whether to show anything.
      detailed: whether `tell` shows its lines, which would be too many for several runs.
    """

    n: int  # steps so far; tqdm's name

    def __init__(self, total: int, shown: bool, detailed: bool = True):
        self._detailed = detailed and shown
        self._is_terminal = sys.stderr.isatty()
        super().__init__(
            total=total,
            # Without steps per second: images/s say the same, and 80 columns are few.
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            disable=not shown,
            dynamic_ncols=True,
            delay=0 if self._is_terminal else 1e-9,  # else it would begin with a line
            leave=self._is_terminal,
            mininterval=0.1 if self._is_terminal else 10,  # seconds; a log file wants few lines
            miniters=1,
            smoothing=0,  # else evaluations and compilation would soon be forgotten
        )

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """tqdm's way to show a new state of the bar."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda line: print(line, file=file, flush=True) if line else None

    def close(self) -> None:
        """Shows the last state, in a file too."""
        if not self.disable and not self._is_terminal:
            self.refresh()
        super().close()

    def tell(self, lines: str) -> None:
        """Shows lines above the bar, where they stay."""
        if self._detailed:
            (self.write if self._is_terminal else print)(lines, file=sys.stderr)

    def start_run(self, name: str, step: int) -> None:
        """Switches to another run: its name, no values, and the steps before it."""
        self.set_description(name, refresh=False)
        self.set_postfix_str("", refresh=False)
        self._skip_to(step)
        self.refresh()

    def advance_to(self, step: int) -> None:
        """Counts the steps up to this one without their time: they were done before, or never."""
        if step != self.n:
            self._skip_to(step)
            self.refresh()

    def _skip_to(self, step: int) -> None:
        if not self.disable:
            self.initial += step - self.n
            self.n = step
