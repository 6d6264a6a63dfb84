"""The digests of a directory's files, kept so that a later start reads only what has changed."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from ..filesystem import FileStatus, read_file, write_json
from .parallel import compute_ahead

AHEAD = 64  # files that are being read
# Nanoseconds within which a file system may give two changes the same time.
CLOCK = 2_000_000_000


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def read_digests(directory: Path, files: Sequence[str]) -> dict[str, str]:
    """Reads files of a directory, with a progress bar; returns the digests of their contents."""
    digests = compute_ahead(lambda file: digest_of(read_file(directory / file)), files, AHEAD)
    bar = tqdm(digests, "digests", len(files), unit=" files", mininterval=1)
    return dict(zip(files, bar, strict=True))


class Contents:
    """The contents of a directory's `files`; `cache` keeps the digests of unchanged ones."""

    def __init__(self, directory: Path, files: Mapping[str, FileStatus], cache: Path):
        self._directory, self._files, self._cache = directory, files, cache
        self._opened = time.time_ns()
        self._digests: dict[str, str] = {}
        self._known: dict[str, str] = {}  # size, time and digest of each file

    def load(self) -> None:
        """Loads the digests of the files that have not changed."""
        with contextlib.suppress(OSError, ValueError):
            self._known = json.loads(self._cache.read_text())
        for file, status in self._files.items():
            known = self._known.get(file, "").split()
            if status is None or known[:2] == [*map(str, status)]:
                self._digests[file] = known[2] if status else ""

    def suffix(self) -> str | None:
        """What the contents add to a name: "" without files, None while a digest is missing."""
        if len(self._digests) < len(self._files):
            return None
        lines = (f"{file} {self._digests[file]}\n" for file in self._files)
        digest = digest_of(b"".join(map(os.fsencode, lines)))
        return f"-{digest[:8]}" if self._files else ""

    def read_missing(self) -> None:
        if missing := [file for file in self._files if file not in self._digests]:
            self._digests |= read_digests(self._directory, missing)

    def add(self, file: str, digest: str) -> None:
        """Adds the digest of a file; other names than those of the files have no effect."""
        if file in self._files:
            self._digests[file] = digest

    def save(self) -> None:
        """Keeps the digests for later starts, except of files that have changed just now."""
        known = {
            file: f"{status[0]} {status[1]} {digest}"
            for file, digest in self._digests.items()
            if (status := self._files[file]) and status[1] < self._opened - CLOCK
        }
        if known:
            write_json(self._cache, {**self._known, **known})
