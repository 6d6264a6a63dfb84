"""Where the metrics of a run go: metrics.jsonl, TensorBoard."""

import json
import time
from pathlib import Path
from typing import Any, Protocol

from ..errors import CommandError
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
        self._path = workdir.absolute() / NAME
        self._file = self._path.open("a", buffering=1)

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        if not self._path.exists():  # else the checkpoints would go to a new directory
            raise CommandError(f"{self._path}: removed or moved during training; start it again")
        line = json.dumps({"step": step, "epoch": epoch, "split": split, **metrics})
        try:
            self._file.write(f"{line}\n")
        except OSError as error:
            error.filename = str(self._path)
            raise

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files, a chart a metric; those of steps after `start` are dropped."""

    def __init__(self, workdir: Path, start: int):
        # Importing tensorboardX imports PyTorch where that is installed. Its usual writer leaves a
        # thread behind when a disk is full.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        self._event, self._scalar = Event, scalar
        self._events = EventsWriter(str(workdir / "events"))
        self._add(start + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:  # noqa: ARG002
        for name, value in metrics.items():
            self._add(step, summary=self._scalar(f"{split}/{name}", value))
        self._events.flush()

    def _add(self, step: int, **content: Any) -> None:
        self._events.write_event(self._event(wall_time=time.time(), step=step, **content))

    def close(self) -> None:
        self._events.close()


def make_writers(workdir: Path, start: int) -> list[Writer]:
    """All writers of a run that has done `start` steps."""
    return [JsonLines(workdir), TensorBoard(workdir, start)]
