"""The metrics of a run, in metrics.jsonl: one JSON object per line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..filesystem import atomic_write

NAME = "metrics.jsonl"


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The metrics of a run, finished or not; empty before the first line."""
    path = workdir / NAME
    return [json.loads(line) for line in _complete_lines(path)] if path.exists() else []


def keep_metrics(workdir: Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
    """Keeps some lines; the others are those that a killed run wrote after its last checkpoint."""
    path = workdir / NAME
    if path.exists():
        lines = [line for line in _complete_lines(path) if is_kept(json.loads(line))]
        with atomic_write(path) as incomplete:
            incomplete.write_text("".join(lines))


def _complete_lines(path: Path) -> list[str]:
    """All lines except an incomplete last line, which a killed process leaves."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
