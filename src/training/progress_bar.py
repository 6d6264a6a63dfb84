"""The progress bar: of one run, or of several, one after the other."""

import sys

from tqdm import tqdm


class ProgressBar(tqdm):
    """Counts steps; its estimate gives each remaining step the mean time so far, pauses included.

    Args:
      total: steps of all runs.
      shown: whether to show it.
    """

    n: int  # steps so far; tqdm's name

    def __init__(self, total: int, shown: bool):
        super().__init__(
            total=total,
            unit="step",
            disable=not shown,
            dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 10,  # seconds; a log file wants few lines
            miniters=1,
            smoothing=0,  # else evaluations and compilation would soon be forgotten
        )

    def start_run(self, name: str, step: int) -> None:
        """Shows another name, nothing of the run before, and so many steps."""
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
