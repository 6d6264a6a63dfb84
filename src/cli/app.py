"""Runs a command: parses its flags, reports an error in one line, ends with its exit status."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import jax
from absl import logging as absl_logging
from tqdm import tqdm

from ..distributed.devices import avoid_compiler_plugin, use_cpu_devices
from ..errors import DivergedError, JoinError, LostProcessError, UserError
from .flags import CommandFlags


def run(main: Callable[[], int | None], command_flags: CommandFlags, doc: str | None) -> NoReturn:
    """Runs a command on the arguments of this process, and exits.

    The status is that of `run_command`; 143 after SIGTERM, 130 after Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        status = run_command(main, command_flags, doc, sys.argv[1:])
    except SystemExit as signaled:
        status = int(signaled.code or 0)
    if jax.distributed.is_initialized():  # the usual exit would wait for the other processes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run_command(
    main: Callable[[], int | None],
    command_flags: CommandFlags,
    doc: str | None,
    argv: Sequence[str],
) -> int:
    """Runs a command in this process.

    Args:
      main: the command; it returns an exit status, or None for 0.
      command_flags: its flags, which are parsed before `main` is called.
      doc: what --help shows above the flags.
      argv: the command line, without the command's name.

    Returns:
      The exit status: that of `main`, or of an error that is reported in one line; 1 after any
      other error.
    """
    absl_logging.set_verbosity(absl_logging.ERROR)
    with _log_to_stderr():
        try:
            command_flags.parse(argv)
            if command_flags.values.help:
                shown = command_flags.values.get_help().replace(CommandFlags.__module__, "Flags")
                print(doc, shown, sep="\n")
                return 0
            avoid_compiler_plugin()
            if command_flags.values.cpu_devices is not None:
                use_cpu_devices(command_flags.values.cpu_devices, os.environ)
            return main() or 0
        except (UserError, DivergedError, JoinError, LostProcessError) as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return error.exit_status
        except BrokenPipeError:  # the reader of the output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception:
            traceback.print_exc()
        return 1


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Shows what this package logs, of process 0 alone, except where processes come together."""
    package = logging.getLogger(__name__.partition(".")[0])
    handler = _TqdmHandler(logging.INFO)
    handler.addFilter(
        lambda record: os.environ.get("PROCESS_ID", "0") == "0" or ".distributed." in record.name
    )
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


class _TqdmHandler(logging.Handler):
    """Writes lines to stderr, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)
