"""Files and directories that are complete or absent, and the walk over a directory's files."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import UserError

logger = logging.getLogger(__name__)


def build_once(directory: Path, fill: Callable[[Path], None]) -> None:
    """Creates a directory and its files, unless it exists.

    If several processes ask for the same directory, the first fills it while the others wait. A
    killed process leaves no directory of that name.

    Args:
      fill: writes the files into an empty directory, which then gets the name `directory`.
    """
    if directory.exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    # The system releases the lock of a process that dies.
    with directory.with_name(f".{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process is preparing %s: waiting for it", directory.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            return
        for left_by_a_killed_process in directory.parent.glob(f"{directory.name}.incomplete-*"):
            shutil.rmtree(left_by_a_killed_process)
        # Unique names keep processes apart even where a network file system ignores locks.
        incomplete = directory.with_name(f"{directory.name}.incomplete-{uuid.uuid4().hex[:8]}")
        incomplete.mkdir()
        try:
            fill(incomplete)
            incomplete.rename(directory)
        except BaseException:
            shutil.rmtree(incomplete)
            raise


def check_writable(flag: str, path: Path) -> None:
    """Raises UserError if a file cannot be written, before anything is computed for it."""
    if path.is_dir():
        raise UserError(f"--{flag}={path}: is a directory; give the name of a file")
    try:
        _incomplete(path).touch()
        _incomplete(path).unlink()
    except OSError as error:
        message = f"--{flag}={path}: {error.strerror}; give a file in another directory"
        raise UserError(message) from None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` at the end."""
    yield _incomplete(path)
    _incomplete(path).rename(path)


def _incomplete(path: Path) -> Path:
    return path.with_name(f"{path.name}.incomplete")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that is complete or absent, even after a power failure."""
    with atomic_write(path) as incomplete, incomplete.open("w") as file:
        file.write(json.dumps(value, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())  # else a power failure may leave an empty file of that name


def walk_files(directory: Path) -> Iterator[Path]:
    """Yields the files below a directory, except hidden files, pipes, sockets and devices.

    A directory's own files come before those of its subdirectories, each in sorted order. Links
    are followed, and dangling links count as files. Of several paths to the same directory only the
    first counts, so links cannot form a loop.
    """
    visited = set()
    for parent, directories, names in os.walk(directory, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:
            directories.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        files = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file() or not file.exists())
