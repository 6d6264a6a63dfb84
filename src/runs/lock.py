"""The lock of a run directory: at most one run trains in it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

LOCK = "lock"  # file that contains the token of the run that holds the lock


@contextlib.contextmanager
def lock(workdir: Path, token: str) -> Iterator[None]:
    """Holds the lock of a run directory; the system releases the lock of a process that dies.

    It creates the directory. The run's other processes check the `token` with `is_locked_by`.
    Raises UserError if another process holds the lock.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"workdir {workdir}: another process is training in it; wait for its end, or give "
                "another --workdir"
            ) from None
        except OSError:  # a file system without locks
            pass
        file.truncate(0)
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
        yield


def is_locked_by(workdir: Path, token: str) -> bool:
    """Whether this host sees the lock that the run's main process holds."""
    path = workdir / LOCK
    return path.exists() and path.read_text() == token
