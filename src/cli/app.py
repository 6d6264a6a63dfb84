"""What the commands have in common: flags, exit status, and one line for a user's mistake."""

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from absl import flags, logging

from ..distributed.devices import avoid_compiler_plugin
from ..errors import DivergedError, JoinError, LostProcessError, UserError


def run(main: Callable[[], int | None], values: flags.FlagValues, doc: str | None) -> NoReturn:
    """`run_on_arguments` of a command that takes flags alone."""

    def without_arguments(arguments: Sequence[str]) -> int | None:
        if arguments:
            raise UserError(f"arguments: {arguments[0]!r} is no flag; all are --NAME=VALUE")
        return main()

    run_on_arguments(without_arguments, values, doc)


def run_on_arguments(
    main: Callable[[Sequence[str]], int | None], values: flags.FlagValues, doc: str | None
) -> NoReturn:
    """Parses the flags, calls `main` with the other arguments, and exits.

    The status is what `main` returns, or 0; that of the error where one is told in a line, 2 after
    a mistake of the user's; 143 after SIGTERM and 130 after Ctrl-C; 1 after anything else.
    """
    logging.set_verbosity(logging.ERROR)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    arguments = _parse(values)
    if values["help"].value:
        print(doc, values.get_help(), sep="\n")
        sys.exit(0)
    avoid_compiler_plugin()
    if values.cpu_devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", _share(values.cpu_devices))
    try:
        sys.exit(main(arguments))
    except (UserError, DivergedError, JoinError, LostProcessError) as error:
        _fail(error, error.exit_status)
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(1)
    except Exception:
        traceback.print_exc()
        _exit(1)
    except SystemExit as leaving:
        _exit(leaving.code)


def _share(cpu_devices: int) -> int:
    processes = int(os.environ.get("LOCAL_PROCESSES", 1))
    if cpu_devices % processes:
        _fail(f"--cpu_devices={cpu_devices}: {processes} processes can't share them evenly", 2)
    return cpu_devices // processes


def _parse(values: flags.FlagValues) -> list[str]:
    try:
        arguments = values([_with_underscores(argument) for argument in sys.argv])[1:]
        if "config" in values and values["config"].present:
            _ = values.config.keys  # a file that can't be loaded is told of at the first look
    except (AttributeError, KeyError) as missing:
        if getattr(missing, "name", None) == "get_config":
            _fail("--config: the file is no recipe: it has no get_config", 2)
        field = missing.args[0]
        while isinstance(field, KeyError):  # from which ml_collections makes an AttributeError
            field = field.args[0]
        _fail(f"--config: the recipe has no field {field}", 2)
    except (
        flags.Error,
        OSError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as mistake:  # a file or a value
        if values["help"].value:
            return []
        text = str(mistake)
        if "Traceback" in text:  # ml_collections puts all of it there
            text = text.strip().splitlines()[-1].removeprefix(f"{UserError.__module__}.UserError: ")
        # What absl says of a flag that is required, and ml_collections of a file that is not there.
        if absent := re.findall(r"flag (--\w+)=None: Flag", text):
            text = f"{', '.join(absent)}: not given"
        load = r".*failure to load: (.*\[Errno \d+\] )?"
        text = re.sub(load, "--config: ", text, flags=re.DOTALL)
        _fail(text, 2)
    return arguments


def _with_underscores(argument: str) -> str:
    """--save-features=FILE is --save_features=FILE; what is within a configuration stays."""
    if not argument.startswith("--"):
        return argument
    name, *rest = re.split(r"(?=[=.])", argument[2:], maxsplit=1)
    return f"--{name.replace('-', '_')}{''.join(rest)}"


def _fail(error: Exception | str, status: int) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    _exit(status)


def _exit(status: Any) -> NoReturn:
    if jax.distributed.is_initialized():  # the usual way out would wait for the other processes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
