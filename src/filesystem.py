"""Files and directories that are complete or absent, and the walk over a directory's files."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import socket
import stat
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import CommandError, UserError

logger = logging.getLogger(__name__)

FileStatus = tuple[int, int] | None
"""Size in bytes and time of the last change in nanoseconds; None for a dangling link."""


def build_once(
    directory: Path,
    fill: Callable[[Path], Path | None],
    find: Callable[[], Path | None] | None = None,
) -> Path:
    """Creates a directory and its files, unless it exists; returns the directory with the files.

    If several processes ask for the same directory, the first fills it while the others wait. A
    killed process leaves no directory of that name.

    Args:
      directory: what the processes agree on.
      fill: writes the files into an empty directory, which is then renamed to the path it returns,
        or else to `directory`. An existing directory of that name stays.
      find: finds the directory that exists; by default `directory`.

    Raises:
      UserError: a file is where a directory above `directory` must be.
    """
    find = find or (lambda: directory if directory.exists() else None)
    if existing := find():
        return existing
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        message = f"{directory.parent}: is a file, or below one; give a directory"
        raise UserError(message) from None
    # The system releases the lock of a process that dies.
    with directory.with_name(f".{directory.name}.lock").open("w") as lock:
        is_locked = True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process is preparing %s: waiting for it", directory.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            is_locked = False
        if existing := find():
            return existing
        # Network file systems may have no locks, or locks that other hosts do not see.
        stem = f"{directory.name}.incomplete-{socket.gethostname()}-"
        for left_by_a_killed_process in directory.parent.glob(f"{stem}*") if is_locked else ():
            shutil.rmtree(left_by_a_killed_process)
        incomplete = directory.with_name(f"{stem}{uuid.uuid4().hex[:8]}")
        incomplete.mkdir()
        try:
            complete = fill(incomplete) or directory
            if not complete.exists():
                incomplete.rename(complete)
            return complete
        finally:
            shutil.rmtree(incomplete, ignore_errors=True)


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


def names_in(directory: Path) -> list[str]:
    """The names in a directory, in no order: none if it is absent.

    Raises:
      OSError: it cannot be listed, where a glob would find nothing.
    """
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def _system_errors(path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        message = f"{error.filename or path}: {reason}; run the command again when it can be read"
        raise CommandError(message) from error


def read_file(path: Path) -> bytes:
    """Reads a file that was listed; raises CommandError if the system cannot read it."""
    with _system_errors(path):
        return path.read_bytes()


@_system_errors()
def walk_files(*directories: Path) -> dict[str, FileStatus]:
    """Lists the regular files below directories, and dangling links; hidden files do not count.

    A directory's own files come before those of its subdirectories, each in sorted order. Links
    are followed, but each directory counts once, rather by a real path than by a link. Other paths
    to it, pipes, sockets and devices are left out and logged.

    Raises:
      CommandError: a directory cannot be listed, or a file's status cannot be read.
    """
    to_walk = deque(map(str, directories))
    ancestors = {str(parent) for path in directories for parent in path.resolve().parents}
    visited = {_identify(ancestor): ancestor for ancestor in ancestors}  # a link to it is a loop
    found: dict[str, dict[str, FileStatus]] = {}  # the files in each directory
    left_out = []
    while to_walk:
        for directory, subdirectories, names in os.walk(to_walk.popleft(), onerror=_refuse):
            first = visited.setdefault(_identify(directory), directory)
            if first != directory:
                left_out.append(f"{directory} (the same directory as {first})")
                subdirectories.clear()
                continue
            subdirectories[:] = (name for name in subdirectories if not name.startswith("."))
            paths = (os.path.join(directory, name) for name in subdirectories)
            to_walk += filter(os.path.islink, paths)  # which os.walk does not follow
            found[directory] = {}
            for name in sorted(name for name in names if not name.startswith(".")):
                status = _status(os.path.join(directory, name))
                if status is None or stat.S_ISREG(status.st_mode):
                    found[directory][name] = status and (status.st_size, status.st_mtime_ns)
                else:
                    left_out.append(f"{directory}/{name} (not a regular file)")
    if left_out:
        some = repr("; ".join(left_out[:3]))[1:-1]  # a name may have line breaks
        logger.warning("left out %d paths: %s", len(left_out), some)
    ordered = sorted(found, key=lambda directory: directory.split(os.sep))
    return {os.path.join(top, name): found[top][name] for top in ordered for name in found[top]}


def _identify(directory: str) -> tuple[int, int]:
    status = os.stat(directory)
    return status.st_dev, status.st_ino


def _status(path: str) -> os.stat_result | None:
    """None for a dangling link."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and os.path.islink(path):
            return None
        raise


def _refuse(error: OSError) -> None:
    raise error
