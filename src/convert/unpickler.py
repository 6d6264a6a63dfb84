"""Reads untrusted pickles without executing them.

A pickle is a program. This reader calls none of the functions that a pickle names: each becomes a
class of inert objects, which hold the arguments of the call. Other modules build arrays from their
checked fields. The reader does not even call NumPy's functions: an array or a dtype whose state a
pickle sets can reach any memory.
"""

import collections
import pickle
from typing import Any, BinaryIO, Self


class Inert:
    """What a call in a pickle returns; `type(value).__name__` is the function, "os.system".

    The pickle cannot set attributes of these classes, because `__setstate__` needs an instance.
    """

    args: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *args: Any, **_: Any) -> Self:
        call = super().__new__(cls)
        call.args = args
        return call

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def _ignore(self, *_: Any) -> None:
        """Does nothing with the items of dictionaries, lists and sets of other types."""

    __setitem__ = append = extend = add = _ignore


# Python's unpickler, because C's allocates as much memory as an index in the pickle demands.
class RecordingUnpickler(pickle._Unpickler):  # noqa: SLF001
    """Reads one pickle. A damaged pickle raises any exception."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name == "collections.OrderedDict":
            return collections.OrderedDict
        return type(full_name, (Inert,), {})
