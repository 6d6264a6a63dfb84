"""The progress bar: of one run, or of several, one after the other."""

import sys

from tqdm import tqdm


class Bar(tqdm):
    """Counts steps, of which it tells the speed and what is left.

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
        )

    def go_to(self, step: int) -> None:
        """Counts the steps up to this one without their time: some were done before, or never."""
        if not self.disable:
            skipped = step - self.n
            self.initial += skipped
            self.last_print_n += skipped
            self.n = step
            self.refresh()
