"""Errors that a command reports in one line, without a traceback, and the exit statuses."""

import errno
import importlib.metadata
import os
import re
from collections.abc import Collection, Iterable

EXIT_LOST_PROCESS = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: everything is saved, restart the command
# No signal and no shell exits with 75. A process that SIGTERM ended unsaved may exit with 143.


class CommandError(Exception):
    """An error that ends a command with one line and `exit_status`."""

    exit_status = 1


class UserError(CommandError, ValueError):
    """A user's mistake: one line with the field, the value and what is allowed."""

    exit_status = 2  # a restart would repeat the mistake


class EnvironmentMistake(UserError):
    """A mistake in the environment variables of this process; its peers may have others."""


def check_choice(field: str, value: object, choices: Collection[object]) -> None:
    """Raises UserError unless the value of a field is one of the choices."""
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise UserError(f"{field}: {value!r} is not allowed; choose one of {listed}")


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Raises UserError unless the value of a field is in a range, which includes its ends."""
    if not low <= value <= high:
        raise UserError(f"{field}: {value} is not between {low:g} and {high:g}")


# What commands need of each extra, as in pyproject.toml.
EXTRAS = {
    "report": ("jinja2", "matplotlib"),
    "plan": ("jax-cuda13-pjrt", "nvidia-cuda-nvcc-cu12"),
    "serve": ("python-multipart", "starlette", "uvicorn"),
    "onnx": ("jax2onnx",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}


def check_extra(extra: str) -> None:
    """Raises UserError unless the packages of an extra are installed."""
    for package in EXTRAS[extra]:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            message = f"{package} is not installed; run pip install -e '.[{extra}]'"
            raise UserError(message) from None


def list_names(names: Iterable[object], most: int = 5) -> str:
    """The first names, and the number of the others, for a message."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "nothing") + more


class DivergedError(CommandError, RuntimeError):
    """The loss or its gradient is no longer finite."""


class JoinError(CommandError, RuntimeError):
    """The processes of a run did not all join."""


class LostProcessError(CommandError, RuntimeError):
    """Another process of the run has ended or cannot be reached; the checkpoints remain."""

    exit_status = EXIT_LOST_PROCESS


# Errors of the system, as opposed to mistakes and damaged files.
ADVICE = {
    "free some space": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "check the permissions": (errno.EACCES, errno.EPERM, errno.EROFS),
    "try again": (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),
    "raise the limit, see ulimit -n": (errno.EMFILE, errno.ENFILE),
    "free some memory": (errno.ENOMEM,),
}
REASONS = {os.strerror(number): advice for advice in ADVICE for number in ADVICE[advice]}
NUMBER = re.compile(r"(?:\[Errno |os_error_code=')(\d+)")  # in texts of Python and TensorStore
# What missing and damaged files cause; all other numbers are errors of the system.
OF_FILES = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL}
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # JAX's


def describe_system_error(error: BaseException | None) -> str | None:
    """The path, the reason and what to do, if an error of the system caused `error`; else None.

    Orbax raises other errors from the system's, or puts their text into its own.
    """
    if error is None:
        return None
    text = str(error)
    numbers = {int(number) for number in NUMBER.findall(text)}
    others = [os.strerror(number) for number in numbers - OF_FILES]
    if reasons := [reason for reason in REASONS if reason in text] or others:
        path = re.search(r"""["'](/[^"']+)["']""", text)
        advice = REASONS.get(reasons[0], "try again")
        return f"{path[1] if path else 'system'}: {reasons[0]}; {advice}"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in text:
        return f"out of memory: {text.splitlines()[0] if text else 'free some memory'}"
    return describe_system_error(error.__cause__ or error.__context__)
