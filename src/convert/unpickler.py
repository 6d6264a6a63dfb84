"""Reads untrusted pickles without executing them.

A pickle is a program. This reader records its calls as inert `Call`s. Other modules build arrays
from their checked fields. The reader does not even call NumPy's functions: an array or a dtype
whose state a pickle sets can reach any memory.
"""

import collections
import pickle
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from ..errors import UserError


@dataclass(eq=False)
class Call:
    """A call that a pickle requests, and the state that the pickle sets on the result."""

    name: str
    args: tuple[Any, ...]
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Global(NamedTuple):
    """A class or function that a pickle names. A pickle cannot set the state of a tuple."""

    name: str

    def __call__(self, *args: Any) -> Call:
        return Call(self.name, args)


# Python's unpickler, because C's allocates as much memory as an index in the pickle demands.
class RecordingUnpickler(pickle._Unpickler):  # noqa: SLF001
    """Reads one pickle that names only `allowed` globals, such as "numpy.ndarray".

    Raises:
      UserError: the pickle names another global. A damaged pickle raises any exception.
    """

    def __init__(self, file: BinaryIO, allowed: Set[str]):
        super().__init__(file, encoding="latin1")
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name == "collections.OrderedDict":
            return collections.OrderedDict
        if full_name not in self._allowed:
            raise UserError(
                f"its pickle calls {full_name}, which no weights file needs; give a file that has "
                "only arrays (a state_dict)"
            )
        return Global(full_name)
