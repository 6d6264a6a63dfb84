"""What a command tells in one line, without a traceback."""


class UserError(ValueError):
    """A mistake of the user's: one line that names the field, the value and what would be right."""


class DivergedError(RuntimeError):
    """The loss or its gradient is no finite number any more."""
