"""Layers in .npy files, as caffe-to-tensorflow and its descendants wrote them."""

import os
from typing import Any, BinaryIO

import numpy as np

from .unpickler import Inert, RecordingUnpickler

_DTYPES = {
    (name, order): np.dtype(order + name) for name in ("f2", "f4", "f8") for order in ("<", ">")
}


def read_npy(file: BinaryIO) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The weights and biases of each layer.

    The file holds {name: [weights, biases]} or {name: {"weights": …, "biases": …}}.

    A damaged file or another format raises any exception.
    """
    major, _ = np.lib.format.read_magic(file)
    header_size = int.from_bytes(file.read(2 if major == 1 else 4), "little")
    file.seek(header_size, os.SEEK_CUR)
    *_, (layers,) = RecordingUnpickler(file).load().state
    arrays = {}
    for name, pair in layers.items():
        weights, biases = (pair["weights"], pair["biases"]) if isinstance(pair, dict) else pair
        arrays[str(name)] = _to_array(weights), _to_array(biases)
    return arrays


def _to_array(call: Any) -> np.ndarray:
    _, shape, dtype, is_fortran, content = call.state
    name, *_ = dtype.args
    _, order, *_ = dtype.state
    if isinstance(content, Inert):
        content, *_ = content.args
    if isinstance(content, str):  # bytes of Python 2, or the argument of `_codecs.encode`
        content = content.encode("latin1")
    values = np.frombuffer(content, _DTYPES[name, order])
    return values.reshape(shape, order="F" if is_fortran else "C")
