"""Compiled programs, kept for later commands of the user."""

import os
import platform
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import jax

MAX_SIZE = 2 << 30  # bytes that the cache keeps
INSTRUCTIONS = ("model name", "flags", "Features", "CPU part")
"""The fields of /proc/cpuinfo that say for which instructions XLA compiles."""


def cache_programs(environment: Mapping[str, str]) -> None:
    """Keeps compiled programs in the user's cache, unless JAX already has a directory for them.

    Each kind of processor has its own directory: hosts may share a home, and a program compiled for
    one can crash on another.

    Process 0 first removes what exceeds MAX_SIZE. JAX's own limit would need the package
    filelock and a lock around each program, and would keep no more programs once a process has
    been killed between writing one and its time of use.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    try:
        cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache", "alexnet")
        directory = cache / processor()
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # there is no such place, or no home
        return
    if os.access(directory, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        if (environment.get("PROCESS_ID") or "0") == "0":
            _limit_size(cache)


def _limit_size(directory: Path) -> None:
    """Removes the files that were read or written longest ago, down to MAX_SIZE."""
    files = []
    for place, _, names in os.walk(directory):
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):  # another command has removed it
                status = path.stat()
                files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    kept = 0
    for _, size, path in sorted(files, reverse=True):
        kept += size
        if kept > MAX_SIZE:
            path.unlink(missing_ok=True)


def processor() -> str:
    """Names the instructions of this computer's processor, such as "x86_64-1c291ca3"."""
    lines: set[str] = set()
    with suppress(OSError):  # there is no such file on macOS
        lines.update(Path("/proc/cpuinfo").read_text().splitlines())
    known = sorted(line for line in lines if line.startswith(INSTRUCTIONS))
    return f"{platform.machine()}-{zlib.crc32(repr(known).encode()):08x}"
