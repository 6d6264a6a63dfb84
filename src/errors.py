"""Errors that a command reports in one line, without a traceback, and the exit statuses."""

EXIT_USER_ERROR = 2  # a mistake in the command, which would repeat itself
EXIT_LOST_PROCESS = 69  # EX_UNAVAILABLE of sysexits.h: another process of the run was lost
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: everything is saved, restart the command
# No signal and no shell makes 75; 143 could also come from a process that SIGTERM ended unsaved.


class UserError(ValueError):
    """A mistake of the user's: one line with the field, the value and what is allowed."""

    exit_status = EXIT_USER_ERROR


class DivergedError(RuntimeError):
    """The loss or its gradient is no longer finite."""

    exit_status = 1


class JoinError(RuntimeError):
    """The processes of a run did not come together."""

    exit_status = 1


class LostProcessError(RuntimeError):
    """Another process of the run has ended or cannot be reached; the checkpoints remain."""

    exit_status = EXIT_LOST_PROCESS
