"""The metrics of a run in metrics.jsonl, from which it resumes."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..errors import CommandError
from ..runs.metrics_file import NAME
from .base import Writer


class JsonLines(Writer):
    """metrics.jsonl, a JSON object a line."""

    def __init__(self, workdir: Path):
        self._path = workdir.absolute() / NAME
        self._file = self._path.open("a", buffering=1)

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        if not self._path.exists():  # else the checkpoints would go to a new directory
            raise CommandError(f"{self._path}: removed or moved during training; start it again")
        line = json.dumps({"step": step, "epoch": epoch, "split": split, **metrics})
        with self._named_in_errors():
            self._file.write(f"{line}\n")

    def close(self) -> None:
        with self._named_in_errors():  # it tries again to write what a full disk did not take
            self._file.close()

    @contextlib.contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise
