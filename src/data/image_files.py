"""The image files that a command line means."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from ..errors import UserError
from ..filesystem import walk_files
from .images import RawImage

STANDARD_INPUT = "-"


class NamedImage(NamedTuple):
    """An image as it came, and what to call it."""

    name: str
    original: RawImage


def find_images(arguments: Sequence[str], list_file: str | None = None) -> list[NamedImage]:
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
    """A name as text in one line, which the name of a file need not be."""
    text = name.encode(errors="backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda control: repr(control[0])[1:-1], text)


def _find(argument: str) -> Iterator[NamedImage]:
    path = Path(argument)
    if not argument:
        raise UserError("arguments: '' is no file; leave it out")
    if argument == STANDARD_INPUT:
        yield NamedImage(argument, _standard_input().buffer.read())
    elif os.path.isdir(argument):
        files = sorted(file for file in walk_files(path) if file.exists())
        yield from (NamedImage(str(file), file) for file in files)
    elif glob.has_magic(argument) and not os.path.exists(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise UserError(f"arguments: no file is like {argument!r}")
        yield from (NamedImage(match, Path(match)) for match in matches if Path(match).is_file())
    else:
        yield NamedImage(argument, path)


def _lines(list_file: str) -> list[str]:
    try:
        if list_file == STANDARD_INPUT:
            text = _standard_input().read()
        else:
            text = Path(list_file).read_text(errors="surrogateescape")
    except OSError as error:
        raise UserError(f"--files_from={list_file}: {error.strerror}") from None
    return [line for line in text.splitlines() if line]


def _standard_input() -> TextIO:
    if sys.stdin is None:  # the shell has closed it
        raise UserError("arguments: standard input is closed")
    return sys.stdin
