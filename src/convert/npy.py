"""Dictionaries of layers in .npy files, as caffe-to-tensorflow and its descendants wrote them."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .pickles import Unpickler

_NUMBERS = {
    (name, order): np.dtype(order + name) for name in ("f2", "f4", "f8") for order in ("<", ">")
}


class _Kind:
    """A type of numbers as its pickle describes it."""

    def __init__(self, name: str, *_: Any):
        self.name = name
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        _, self.order, *_ = state


class _Array:
    """An array as its pickle describes it."""

    @classmethod
    def begun(cls, *_: Any) -> "_Array":
        return cls()

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.kind, self.is_fortran, self.content = state

    def made(self) -> np.ndarray:
        content = self.content
        if isinstance(content, str):  # what was bytes in Python 2
            content = content.encode("latin1")
        numbers = np.frombuffer(content, _NUMBERS[self.kind.name, self.kind.order])
        return numbers.reshape(self.shape, order="F" if self.is_fortran else "C")


_ALLOWED: Mapping[str, Any] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Kind,
    "numpy.core.multiarray._reconstruct": _Array.begun,
    "numpy._core.multiarray._reconstruct": _Array.begun,
    "_codecs.encode": str.encode,  # bytes in protocol 2
}


def npy_layers(file: BinaryIO) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each layer its weights and biases: {name: [weights, biases]}, or {name: {"weights": …}}.

    Raises:
      UserError: the file holds more than arrays. A damaged one, or another, raises whatever.
    """
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    read_header(file)
    (found,) = Unpickler(file, _ALLOWED).load().content
    made = {}
    for name, arrays in found.items():
        weights, biases = _pair(arrays)
        made[str(name)] = weights.made(), biases.made()
    return made


def _pair(arrays: Any) -> Any:
    return (arrays["weights"], arrays["biases"]) if isinstance(arrays, dict) else arrays
