"""Files that are whole or not there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from src.errors import UserError


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
def whole(path: Path) -> Iterator[Path]:
    """Gives a file to write, which gets the other's name once it is written."""
    yield _incomplete(path)
    _incomplete(path).rename(path)


def _incomplete(path: Path) -> Path:
    return path.with_name(f"{path.name}.incomplete")
