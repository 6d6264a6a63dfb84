"""Dictionaries of layers in .npy files, as caffe-to-tensorflow and its descendants wrote them."""

import os
from typing import Any, BinaryIO

import numpy as np

from .unpickler import Call, RecordingUnpickler

_DTYPES = {
    (name, order): np.dtype(order + name) for name in ("f2", "f4", "f8") for order in ("<", ">")
}
_ALLOWED = {
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "_codecs.encode",  # bytes in protocol 2
}


def npy_layers(file: BinaryIO) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The weights and biases of each layer.

    The file holds {name: [weights, biases]} or {name: {"weights": …, "biases": …}}.

    Raises:
      UserError: the file holds more than arrays. A damaged or another file raises any exception.
    """
    major, _ = np.lib.format.read_magic(file)
    header_size = int.from_bytes(file.read(2 if major == 1 else 4), "little")
    file.seek(header_size, os.SEEK_CUR)
    *_, (layers,) = RecordingUnpickler(file, _ALLOWED).load().state
    pairs = {
        name: (pair["weights"], pair["biases"]) if isinstance(pair, dict) else pair
        for name, pair in layers.items()
    }
    return {
        str(name): (_to_array(weights), _to_array(biases))
        for name, (weights, biases) in pairs.items()
    }


def _to_array(recorded: Any) -> np.ndarray:
    _, shape, dtype, is_fortran, content = recorded.state
    name, *_ = dtype.args
    _, order, *_ = dtype.state
    if isinstance(content, Call):
        content, *_ = content.args
    if isinstance(content, str):  # bytes of Python 2, or the argument of `_codecs.encode`
        content = content.encode("latin1")
    numbers = np.frombuffer(content, _DTYPES[name, order])
    return numbers.reshape(shape, order="F" if is_fortran else "C")
