"""The image files that a command line means."""

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from src.data.images import Original
from src.errors import UserError

STANDARD_INPUT = "-"


class Named(NamedTuple):
    """An image as it came, and what to call it."""

    name: str
    original: Original


def find(arguments: Sequence[str], list_file: str | None = None) -> list[Named]:
    """All images that are meant, in order.

    Args:
      arguments: files; folders, of which all files are meant, however deep, but hidden ones;
        patterns such as "photos/**/*.jpg", where the shell has left them; "-", an image on standard
        input.
      list_file: has further arguments, one a line; "-" reads them from standard input.

    Raises:
      UserError: nothing is meant, a pattern has no file, or the list can't be read.
    """
    if list_file is not None:
        arguments = [*arguments, *_lines(list_file)]
    found = [image for argument in arguments for image in _find(argument)]
    if not found:
        raise UserError(
            f"arguments: no image is in {', '.join(arguments)}"
            if arguments
            else "arguments: no image is given; name files, folders, patterns, or - for standard "
            "input"
        )
    return found


def printable(name: str) -> str:
    """A name as text, which the name of a file need not be."""
    return name.encode(errors="backslashreplace").decode()


def _find(argument: str) -> Iterator[Named]:
    path = Path(argument)
    if argument == STANDARD_INPUT:
        yield Named(argument, sys.stdin.buffer.read())
    elif path.is_dir():
        files = (file for file in path.rglob("[!.]*") if file.is_file())
        yield from (Named(str(file), file) for file in sorted(files))
    elif glob.has_magic(argument) and not path.exists():
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise UserError(f"arguments: no file is like {argument!r}")
        yield from (Named(match, Path(match)) for match in matches if Path(match).is_file())
    else:
        yield Named(argument, path)


def _lines(list_file: str) -> list[str]:
    try:
        if list_file == STANDARD_INPUT:
            return sys.stdin.read().splitlines()
        return Path(list_file).read_text(errors="surrogateescape").splitlines()
    except OSError as error:
        raise UserError(f"--files_from={list_file}: {error.strerror}") from None
