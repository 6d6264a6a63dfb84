"""State dicts that `torch.save` wrote, in its present or its former format."""

import collections
import io
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from ..errors import UserError
from .pickles import Unpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # begins what torch.save wrote before version 1.6

_NUMBERS = {
    f"torch.{name}Storage": np.dtype(kind)
    for name, kind in {
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
    }.items()
}


class _Tensor(NamedTuple):
    """A tensor as its pickle describes it: a part of a storage."""

    key: str
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def rebuild(cls, storage: tuple[str, str], offset: int, shape: Any, strides: Any, *_: Any):  # type: ignore[no-untyped-def]
        return cls(*storage, offset, tuple(shape), tuple(strides))

    @classmethod
    def as_parameter(cls, tensor: Any, *_: Any) -> Any:
        return tensor

    def of(self, storage: bytes) -> np.ndarray:
        numbers = np.frombuffer(storage, _NUMBERS[self.kind])
        if 0 in self.shape:
            return np.empty(self.shape, numbers.dtype)
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        is_inside = 0 <= self.offset <= self.offset + last < len(numbers)
        is_plain = min(self.shape, default=1) > 0 <= min(self.strides, default=0)
        if not (is_inside and is_plain and math.prod(self.shape) <= len(numbers)):
            raise UserError(
                f"damaged: a tensor of {self.shape} is not within its {len(numbers)} numbers"
            )
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides)


_ALLOWED: Mapping[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": _Tensor.rebuild,
    "torch._utils._rebuild_parameter": _Tensor.as_parameter,
    **{storage: storage for storage in _NUMBERS},
}


class _Unpickler(Unpickler):
    def __init__(self, file: BinaryIO):
        super().__init__(file, _ALLOWED)
        self.kinds: dict[str, str] = {}  # of each storage that a tensor is a part of

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        match pid:
            case (_, str(kind), str(key), _, _) | (_, str(kind), str(key), _, _, None):
                self.kinds[key] = kind
                return key, kind
        raise UserError("it has storages that are parts of others; save it with a later PyTorch")


def state_dict(file: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors by name, read-only, of a state dict or of a training checkpoint that has one.

    Raises:
      UserError: the file is compressed, or holds more than tensors. A damaged one raises whatever.
    """
    read = _zipped if zipfile.is_zipfile(file) else _legacy
    file.seek(0)
    saved, storage = read(file)
    tensors = {
        name: tensor
        for name, tensor in saved.get("state_dict", saved).items()
        if isinstance(name, str) and isinstance(tensor, _Tensor)
    }
    storages = {key: storage(key) for key in {tensor.key for tensor in tensors.values()}}
    return {name: tensor.of(storages[tensor.key]) for name, tensor in tensors.items()}


def _zipped(file: BinaryIO) -> tuple[Any, Callable[[str], bytes]]:
    archive = zipfile.ZipFile(file)
    if sum(member.file_size for member in archive.infolist()) > os.stat(file.fileno()).st_size:
        raise UserError("it is compressed, which torch.save does not do; give the file it wrote")
    (program,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    saved = _Unpickler(io.BytesIO(archive.read(program))).load()
    return saved, lambda key: archive.read(f"{program.removesuffix('data.pkl')}data/{key}")


def _legacy(file: BinaryIO) -> tuple[Any, Callable[[str], bytes]]:
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("it begins otherwise")
    _Unpickler(file).load()  # the protocol's version
    _Unpickler(file).load()  # the system that wrote it
    saving = _Unpickler(file)
    saved = saving.load()
    storages = {}
    for key in _Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(count * _NUMBERS[saving.kinds[key]].itemsize)
    return saved, storages.__getitem__
