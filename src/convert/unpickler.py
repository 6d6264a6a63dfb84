"""Reads the pickles of others without calling anything that they name.

A pickle is a program. This reader records its calls as inert `Call`s; arrays are built later from
the checked fields of these. Not even NumPy's own functions are called: an array or a dtype whose
state a pickle sets can reach any memory.
"""

import collections
import pickle
from collections.abc import Set
from typing import Any, BinaryIO, NamedTuple

from ..errors import UserError


class Call:
    """A call that a pickle asks for, and the state that it sets on the result."""

    def __init__(self, name: str, args: tuple[Any, ...]):
        self.name = name
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Global(NamedTuple):
    """A class or function that a pickle names. As a tuple, it has no state that one could set."""

    name: str

    def __call__(self, *args: Any) -> Call:
        return Call(self.name, args)


# Python's own, because C's allocates as much memory as an index in the pickle asks for.
class RecordingUnpickler(pickle._Unpickler):  # noqa: SLF001
    """Reads one pickle that names only what is allowed, such as "numpy.ndarray".

    Raises:
      UserError: the pickle names anything else. A damaged one raises any exception.
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
                f"its pickle calls {full_name}, which no file of weights needs; give a file of "
                "arrays alone (a state_dict)"
            )
        return Global(full_name)
