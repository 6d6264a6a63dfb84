"""The metrics of a run, in metrics.jsonl: one JSON object per line."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..filesystem import atomic_write

logger = logging.getLogger(__name__)
NAME = "metrics.jsonl"


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The metrics of a run, finished or not; empty before the first line."""
    path = workdir / NAME
    return [metrics for _, metrics in _lines(path)] if path.exists() else []


def keep_metrics(workdir: Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
    """Keeps some lines; the others are those that a killed run wrote after its last checkpoint."""
    path = workdir / NAME
    if path.exists():
        lines = [line for line, metrics in _lines(path) if is_kept(metrics)]
        with atomic_write(path) as incomplete:
            incomplete.write_text("".join(lines))


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines and their metrics, except an incomplete last line, which a killed process leaves.

    A power failure may leave zero bytes, which do not count; other damaged lines are logged.
    """
    for line in path.read_text(errors="replace").replace("\0", "").splitlines(keepends=True):
        try:
            metrics = json.loads(line)
            metrics["step"]
        except (ValueError, TypeError, KeyError):
            if line.strip() and line.endswith("\n"):
                logger.warning("%s: left out a damaged line: %.60s", path, line.strip())
            continue
        if line.endswith("\n"):
            yield line, metrics
