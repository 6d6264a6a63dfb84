"""Files and directories that are complete or absent."""

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
    """Has a folder filled, unless it is there.

    Of several processes that ask for the same one, the first fills it while the others wait. One
    that is killed leaves nothing that looks finished.

    Args:
      fill: is given an empty folder, which then gets the directory's name.
    """
    if directory.exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.parent / f".{directory.name}.lock", directory.name):
        if not directory.exists():
            with _complete_or_absent(directory) as incomplete:
                fill(incomplete)


@contextlib.contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """Lets one process in at a time. The lock of one that dies is opened by the system."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process is preparing %s: waiting for it", what)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _complete_or_absent(directory: Path) -> Iterator[Path]:
    """Gives a folder to fill, which gets the directory's name only once it is full."""
    for left_by_a_killed_run in directory.parent.glob(f"{directory.name}.incomplete-*"):
        shutil.rmtree(left_by_a_killed_run)
    # Names of their own keep processes apart even where a network file system ignores locks.
    incomplete = directory.with_name(f"{directory.name}.incomplete-{uuid.uuid4().hex[:8]}")
    incomplete.mkdir()
    try:
        yield incomplete
        incomplete.rename(directory)
    except BaseException:
        shutil.rmtree(incomplete)
        raise


def check_writable(flag: str, path: Path) -> None:
    """Raises UserError where a file can't be written, before anything is computed for it."""
    if path.is_dir():
        raise UserError(f"--{flag}={path}: it is a folder; name a file")
    try:
        _incomplete(path).touch()
        _incomplete(path).unlink()
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: {error.strerror}; give a file in another folder"
        ) from None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a file to write, which gets the other's name once it is written."""
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
    """All regular files below a directory that are not hidden, following links.

    A directory's own files come first, then those of its subdirectories, each in sorted order. Of
    several paths to the same directory only the first counts, so that links cannot form a loop.
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
        yield from (file for file in files if not _is_special(file))


def _is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device; a dangling link is not."""
    return path.exists() and not path.is_file()
