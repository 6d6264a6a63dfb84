"""Runs a command: parses its flags, reports an error in one line, ends with its exit status."""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import jax
from absl import logging as absl_logging
from tqdm import tqdm

from ..distributed.devices import avoid_compiler_plugin, choose_cpu_devices, keep_memory
from ..distributed.program_cache import cache_programs
from ..errors import CommandError, EnvironmentMistake, UserError, describe_system_error
from .flags import CommandFlags

Main = Callable[[], int | None]
"""A command without its flags; it returns an exit status, or None for 0."""


def run(main: Main, flags: CommandFlags, doc: str | None) -> NoReturn:
    """Runs a command on the arguments of this process, and exits.

    The status is that of `run_command`; 143 after SIGTERM, 130 after Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if (os.environ.get("NUM_PROCESSES") or "1") != "1":
        _silence_gloo()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = _report_unraisable
    threading.excepthook = lambda error: (
        None if _is_consequence(error.exc_value) else threading.__excepthook__(error)
    )
    try:
        status = run_command(main, flags, doc, sys.argv[1:])
    except SystemExit as signaled:
        status = int(signaled.code or 0)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # closed by the reader, as `head` does, or on a full disk
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    # The usual exit would wait for the other processes, and for threads that an error left behind:
    # some of Orbax's do not end once a disk is full.
    if status or jax.distributed.is_initialized():
        os._exit(status)
    sys.exit(status)


def run_command(main: Main, flags: CommandFlags, doc: str | None, argv: Sequence[str]) -> int:
    """Runs a command in this process.

    Args:
      main: the command.
      flags: its flags, which are parsed before `main` is called.
      doc: what --help shows above the flags.
      argv: the command line, without the command's name.

    Returns:
      The exit status: that of `main` or of a `CommandError`; 1 after any other error.
    """
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax logs the errors that it raises
    with _log_to_stderr():
        try:
            flags.parse(argv)
            if flags.values.help:
                print(doc)
                print(flags.help())
                return 0
            avoid_compiler_plugin()
            keep_memory()
            cache_programs(os.environ)
            choose_cpu_devices(flags.values.cpu_devices, os.environ)
            return main() or 0
        except BrokenPipeError:
            return 1
        except Exception as error:
            with suppress(OSError):  # stderr may be a file on a full disk
                _report(error)
            return getattr(error, "exit_status", 1)


def _silence_gloo() -> None:
    """Keeps stdout for Python alone: Gloo, which connects processes, writes lines there."""
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _report(error: Exception) -> None:
    is_first = (os.environ.get("LOCAL_PROCESS_ID") or "0") == "0"
    is_shared = isinstance(error, UserError) and not isinstance(error, EnvironmentMistake)
    if is_shared and not is_first and not jax.distributed.is_initialized():
        return  # all processes of this host have the same command line and files
    reason = str(error) if isinstance(error, CommandError) else describe_system_error(error)
    if reason:
        print(f"error: {' '.join(reason.split())}", file=sys.stderr)
    else:
        traceback.print_exception(error)


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Shows the log of this package: of process 0 only, except for `distributed`."""
    package = logging.getLogger(__name__.partition(".")[0])
    handler = _TqdmHandler(logging.INFO)
    is_main = (os.environ.get("PROCESS_ID") or "0") == "0"
    handler.addFilter(lambda record: is_main or ".distributed." in record.name)
    level, propagate = package.level, package.propagate
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False  # some library gives the root logger a handler too
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        package.propagate = propagate


def _is_consequence(error: BaseException | None) -> bool:
    """Whether a thread's error follows from one that the command reports.

    When a part of a checkpoint cannot be read, Orbax abandons the reading of the others.
    """
    return str(error) == "Event loop is closed" or describe_system_error(error) is not None


def _report_unraisable(error: "sys.UnraisableHookArgs") -> None:
    coroutine = getattr(error.object, "cr_code", None)
    is_abandoned = coroutine is not None and "orbax" in coroutine.co_filename
    if not is_abandoned and not _is_consequence(error.exc_value):
        sys.__unraisablehook__(error)


class _TqdmHandler(logging.Handler):
    """Writes lines to stderr, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)
