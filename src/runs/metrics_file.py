"""The metrics of a run, in metrics.jsonl: one JSON object per line."""

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..filesystem import atomic_write

logger = logging.getLogger(__name__)
NAME = "metrics.jsonl"


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The metrics of a run, finished or not; empty before the first line."""
    return [metrics for _, metrics in _lines(workdir / NAME)]


def metrics_checksum(workdir: Path) -> int:
    path = workdir / NAME
    return zlib.crc32(path.read_bytes()) if path.exists() else 0


def keep_metrics(
    workdir: Path, is_kept: Callable[[dict[str, Any]], bool], checksum: int | None = None
) -> None:
    """Keeps some lines; the others are those that a killed run wrote after its last checkpoint.

    If the lines that it keeps have another checksum, some are lost or changed: it logs this, and
    puts the file as it was into the directory `damaged`.
    """
    path = workdir / NAME
    lines = [line for line, metrics in _lines(path) if is_kept(metrics)]
    content = "".join(lines).encode()
    if checksum not in (None, zlib.crc32(content)):
        logger.warning("%s: lines of earlier steps are missing or damaged", path)
        aside = workdir / "damaged" / NAME
        aside.parent.mkdir(exist_ok=True)
        if path.exists() and not aside.exists():
            shutil.copy(path, aside)
    with atomic_write(path) as incomplete:
        incomplete.write_bytes(content)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines and their metrics, except an incomplete last line, which a killed process leaves.

    A power failure may leave zero bytes, which do not count; other damaged lines are logged.
    """
    text = path.read_text(errors="replace") if path.exists() else ""
    for line in text.replace("\0", "").splitlines(keepends=True):
        try:
            metrics = json.loads(line)
            metrics["step"]
        except (ValueError, TypeError, KeyError):
            if line.strip() and line.endswith("\n"):
                logger.warning("%s: left out a damaged line: %.60s", path, line.strip())
            continue
        if line.endswith("\n"):
            yield line, metrics
