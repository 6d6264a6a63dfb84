"""Errors of the system, such as a full disk, as opposed to mistakes and damaged files."""

import errno
import os
import re

ADVICE = {
    "free some space": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "check the permissions": (errno.EACCES, errno.EPERM, errno.EROFS),
    "try again": (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),
    "raise the limit, see ulimit -n": (errno.EMFILE, errno.ENFILE),
    "free some memory": (errno.ENOMEM,),
}
REASONS = {os.strerror(number): advice for advice in ADVICE for number in ADVICE[advice]}
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # JAX's


def describe_system_error(error: BaseException | None) -> str | None:
    """The path, the reason and what to do, if an error of the system caused `error`; else None.

    Orbax raises other errors from the system's, or puts their text into its own.
    """
    if error is None:
        return None
    text = str(error)
    for reason in REASONS:
        if reason in text:
            path = re.search(r"""["'](/[^"']+)["']""", text)
            return f"{path[1] if path else 'system'}: {reason}; {REASONS[reason]}"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in text:
        return f"out of memory: {text.splitlines()[0] if text else 'free some memory'}"
    return describe_system_error(error.__cause__ or error.__context__)
