"""State dicts that `torch.save` wrote, in the zip format or the format before version 1.6."""

import io
import math
import os
import zipfile
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from ..errors import UserError, list_names
from .unpickler import Inert, RecordingUnpickler

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "_orig_mod")
"""What programs call a network: keys of checkpoints, and parts of the tensors' names."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle in the format before version 1.6
_ZIP_MAGIC = b"PK\x03\x04"

_DTYPES = {
    f"torch.{name}Storage": np.dtype(dtype)
    for name, dtype in {
        "Double": "<f8",
        "Float": "<f4",
        "Half": "<f2",
        "BFloat16": ml_dtypes.bfloat16,
        "ComplexDouble": "<c16",
        "ComplexFloat": "<c8",
        "Long": "<i8",
        "Int": "<i4",
        "Short": "<i2",
        "Char": "i1",
        "Byte": "u1",
        "Bool": "?",
        "storage.Untyped": "u1",  # of types that this reader ignores
    }.items()
}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"

Storages = dict[str, np.ndarray]


class _Unpickler(RecordingUnpickler):
    """Returns a storage's key in place of the storage, and adds its type to `dtypes`."""

    def __init__(self, file: BinaryIO, dtypes: dict[str, np.dtype]):
        super().__init__(file)
        self._dtypes = dtypes

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case (_, type(__name__=name), str(key), _, _, *view) if view in ([], [None]):
                if name not in _DTYPES:
                    raise UserError(f"it has tensors of {name}; save them as floating-point")
                self._dtypes[key] = _DTYPES[name]
                return key
            case ("module", type() as module, *_):  # of networks that are saved as objects
                return module
        raise UserError("its storages share memory; save it with a later version of PyTorch")


def read_state_dict(file: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors by name, read-only, of a state dict or of a training checkpoint that has one.

    Raises:
      UserError: the file is compressed, or has no state dict. A damaged file raises any exception.
    """
    # By its first bytes, as torch.load does: a zip file that lost its end is damaged, not legacy.
    read = _read_zip if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC else _read_legacy
    file.seek(0)
    saved, storages = read(file)
    if isinstance(saved, Inert):
        raise UserError(f"it has an object, {type(saved).__name__}; save its state_dict()")
    for key in WRAPPERS * len(WRAPPERS):  # one may be in another
        if isinstance(saved.get(key), dict):
            saved = saved[key]
    tensors = {
        name: _to_array(value, storages)
        for name, value in saved.items()
        if isinstance(name, str) and type(value).__name__ in (_TENSOR, _PARAMETER)
    }
    if not tensors:
        keys = list_names(saved, 20)
        raise UserError(f"it has no state dict; its keys are {keys}; save model.state_dict()")
    return tensors


def _read_zip(file: BinaryIO) -> tuple[Any, Storages]:
    archive = zipfile.ZipFile(file)
    if sum(member.file_size for member in archive.infolist()) > os.stat(file.fileno()).st_size:
        raise UserError("it is compressed, but torch.save compresses nothing; give its file")
    (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    directory = pickled.removesuffix(".pkl")
    dtypes: dict[str, np.dtype] = {}
    saved = _Unpickler(io.BytesIO(archive.read(pickled)), dtypes).load()
    contents = {key: archive.read(f"{directory}/{key}") for key in dtypes}
    return saved, {key: np.frombuffer(contents[key], dtypes[key]) for key in dtypes}


def _read_legacy(file: BinaryIO) -> tuple[Any, Storages]:
    dtypes: dict[str, np.dtype] = {}
    magic, _protocol, _system, saved, keys = (_Unpickler(file, dtypes).load() for _ in range(5))
    if magic != LEGACY_MAGIC:
        raise ValueError("its first pickle is not torch.save's")
    storages = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
        storages[key] = np.frombuffer(file.read(size), dtypes[key])
    return saved, storages


def _to_array(call: Inert, storages: Storages) -> np.ndarray:
    if type(call).__name__ == _PARAMETER:
        (call, *_) = call.args
    key, offset, shape, strides, *_ = call.args
    storage = storages[key]
    if 0 in shape:
        return np.empty(shape, storage.dtype)
    last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    is_inside = 0 <= offset <= offset + last < len(storage)
    is_plain = min(shape, default=1) > 0 <= min(strides, default=0)
    if not (is_inside and is_plain and math.prod(shape) <= len(storage)):
        raise UserError(f"damaged: a tensor of {shape} exceeds its {len(storage)} values")
    byte_strides = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, byte_strides)
