"""Where the metrics of a run go: metrics.jsonl, TensorBoard."""

import json
from pathlib import Path
from typing import Protocol

from ..runs.metrics_file import NAME


class Writer(Protocol):
    """Writes lines of metrics. To add one, list it in `make_writers`."""

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Writes the metrics of a split ("train", or the name of the evaluation split)."""

    def close(self) -> None:
        """Ends the writing."""


class JsonLines:
    """metrics.jsonl, a JSON object a line."""

    def __init__(self, workdir: Path):
        self._file = (workdir / NAME).open("a")

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, "epoch": epoch, "split": split, **metrics}))
        self._file.write("\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files, a chart a metric; those of steps after `start` are dropped."""

    def __init__(self, workdir: Path, start: int):
        from tensorboardX import SummaryWriter  # imports PyTorch where that is installed

        self._events = SummaryWriter(str(workdir), purge_step=start + 1)

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:  # noqa: ARG002
        for name, value in metrics.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._events.close()


def make_writers(workdir: Path, start: int) -> list[Writer]:
    """All writers of a run that has done `start` steps."""
    return [JsonLines(workdir), TensorBoard(workdir, start)]
