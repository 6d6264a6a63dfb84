"""Pickles that others made, without doing what they say.

A pickle is a program. Of what it may call, only what puts weights together is let through, and
what it gets instead is records that do nothing: arrays are made of them later, by their checked
fields. Nothing of NumPy's is among them, since an array's or a type's own state, when it is set to
what a pickle says, reaches into memory.
"""

import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..errors import UserError


# Python's own, since C's sets aside as much memory as an index in the pickle asks for.
class Unpickler(pickle._Unpickler):  # noqa: SLF001
    """Reads one pickle, which may call what is allowed.

    Raises:
      UserError: it wants to call anything else. A damaged one raises whatever.
    """

    def __init__(self, file: BinaryIO, allowed: Mapping[str, Any]):
        super().__init__(file, encoding="latin1")
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._allowed:
            raise UserError(
                f"it wants to call {module}.{name}, which takes more than weights; give a file of "
                "arrays alone (a state_dict)"
            )
        return self._allowed[f"{module}.{name}"]
