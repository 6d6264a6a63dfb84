"""metrics.jsonl, a run's metrics by line."""

import json
from pathlib import Path
from typing import Any


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The metrics of a run, finished or not; none where it has written none yet."""
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in complete_lines(path)] if path.exists() else []


def complete_lines(path: Path) -> list[str]:
    """The lines but for one that was being written when its process was killed."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
