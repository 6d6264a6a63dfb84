"""What a command tells in one line, without a traceback, and the exit status that goes with it."""


class UserError(ValueError):
    """A mistake of the user's: one line that names the field, the value and what would be right."""

    exit_status = 2


class DivergedError(RuntimeError):
    """The loss or its gradient is no finite number any more."""

    exit_status = 1


class JoinError(RuntimeError):
    """The processes of a run did not come together."""

    exit_status = 1


class LostProcessError(RuntimeError):
    """Another process of the run has ended or can't be reached; the checkpoints are there."""

    exit_status = 69  # EX_UNAVAILABLE of sysexits.h
