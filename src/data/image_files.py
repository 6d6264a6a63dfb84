"""The image files that a command's arguments stand for."""

import fnmatch
import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..filesystem import walk_files
from .images import RawImage

STANDARD_INPUT = "-"


class NamedImage(NamedTuple):
    """An image and the name to print for it."""

    name: str
    original: RawImage


def find_images(arguments: Sequence[str], list_file: str | None = None) -> list[NamedImage]:
    """Finds the images that arguments stand for, in order.

    Args:
      arguments: files; directories, for all files below them that are not hidden; patterns such as
        "photos/**/*.jpg" that the shell did not expand; "-" for an image on standard input.
      list_file: a file of further arguments, one per line; "-" for standard input.

    Raises:
      UserError: none of the images exists, no file matches a pattern, or the list cannot be read.
    """
    if list_file is not None:
        try:
            content = _read_bytes(list_file)
        except OSError as error:
            raise UserError(f"--files_from={list_file}: {error.strerror}") from None
        arguments = [*arguments, *filter(None, os.fsdecode(content).splitlines())]
    if not arguments:
        raise UserError("arguments: no image is given; give files, directories, patterns or -")
    images = [image for argument in arguments for image in _expand(argument)]
    if not images:
        raise UserError(f"arguments: no image is in {', '.join(arguments)}")
    if not any(name == STANDARD_INPUT or os.path.exists(name) for name, _ in images):
        raise UserError(f"arguments: {images[0].name!r} does not exist")
    return images


def printable(name: str) -> str:
    """Escapes what a file's name may contain but one line of text may not."""
    text = name.encode(errors="backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda control: repr(control[0])[1:-1], text)


def _expand(argument: str) -> Iterator[NamedImage]:
    if not argument:
        raise UserError("arguments: '' is not a file; remove it")
    if argument == STANDARD_INPUT:
        yield NamedImage(argument, _read_bytes(argument))
    elif os.path.isdir(argument):
        files = sorted(Path(file) for file, status in walk_files(Path(argument)).items() if status)
        yield from (NamedImage(str(file), file) for file in files)
    elif glob.has_magic(argument) and not os.path.exists(argument):
        matches = sorted(_match(argument))
        if not matches:
            raise UserError(f"arguments: no file matches {argument!r}")
        yield from (NamedImage(match, Path(match)) for match in matches if os.path.isfile(match))
    else:
        yield NamedImage(argument, Path(argument))


def _match(pattern: str) -> list[str]:
    """The paths that match a pattern, of which "**" walks over each directory once."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return glob.glob(pattern)
    tops = glob.glob(os.path.join(".", *parts[: parts.index("**")], ""))
    paths = map(Path, walk_files(*map(Path, sorted(tops))))
    start = "./" if pattern.startswith("./") else ""  # which Path removes
    return [f"{start}{path}" for path in paths if _matches(path.parts, parts)]


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    if parts[:1] == ("**",):
        rest = parts[1:] or ("*",)
        return any(_matches(names[start:], rest) for start in range(len(names)))
    if not names or not parts:
        return names == parts
    return fnmatch.fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def _read_bytes(file: str) -> bytes:
    if file != STANDARD_INPUT:
        return Path(file).read_bytes()
    if sys.stdin is None:  # the shell closed it
        raise UserError("arguments: standard input is closed")
    return sys.stdin.buffer.read()
