"""Errors that a command reports in one line, without a traceback, and the exit statuses."""

EXIT_LOST_PROCESS = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: everything is saved, restart the command
# No signal and no shell exits with 75. A process that SIGTERM ended unsaved may exit with 143.


class CommandError(Exception):
    """An error that ends a command with one line and `exit_status`."""

    exit_status = 1


class UserError(CommandError, ValueError):
    """A user's mistake: one line with the field, the value and what is allowed."""

    exit_status = 2  # a restart would repeat the mistake


class DivergedError(CommandError, RuntimeError):
    """The loss or its gradient is no longer finite."""


class JoinError(CommandError, RuntimeError):
    """The processes of a run did not all join."""


class LostProcessError(CommandError, RuntimeError):
    """Another process of the run has ended or cannot be reached; the checkpoints remain."""

    exit_status = EXIT_LOST_PROCESS
