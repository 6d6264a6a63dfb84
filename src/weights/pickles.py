"""Arrays from pickles that others made, without doing what the pickles say.

A pickle is a program; of what it may call, only what puts arrays together is let through.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from src.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # begins what torch.save wrote before version 1.6


class _Tensor(NamedTuple):
    """A tensor as its pickle describes it: a part of a storage."""

    key: str
    kind: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def rebuild(cls, storage: tuple[str, np.dtype], offset: int, shape: Any, strides: Any, *_: Any):  # type: ignore[no-untyped-def]
        return cls(*storage, offset, tuple(shape), tuple(strides))

    def of(self, storage: bytes) -> np.ndarray:
        numbers = np.frombuffer(storage, self.kind)
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        is_inside = 0 <= self.offset <= self.offset + last < len(numbers)
        if not (is_inside and min(self.strides, default=1) >= 0 < math.prod(self.shape)):
            raise ValueError(f"a tensor of {self.shape} is outside of its {len(numbers)} numbers")
        strides = [stride * numbers.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides).copy()


_OF_TORCH: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": _Tensor.rebuild,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
}

_OF_NUMPY: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{
        f"numpy.{core}.multiarray._reconstruct": np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        for core in ("core", "_core")
    },
    "_codecs.encode": str.encode,  # bytes in protocol 2
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, allowed: Mapping[str, Any], path: Path):
        super().__init__(file, encoding="latin1")
        self._allowed = allowed
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._allowed:
            raise UserError(
                f"--weights={self._path}: it wants to call {module}.{name}, which takes more than "
                "weights; give a file of arrays alone (a state_dict)"
            )
        return self._allowed[f"{module}.{name}"]

    def persistent_load(self, identity: Any) -> tuple[str, np.dtype]:
        _, kind, key, *_ = identity
        return str(key), kind


def torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` wrote, in its present or its former format.

    Raises:
      UserError: the file is damaged or another, or holds more than tensors.
    """

    def read(file: BinaryIO) -> dict[str, np.ndarray]:
        tensors, storages = (_zipped if zipfile.is_zipfile(path) else _legacy)(file, path)
        tensors = tensors.get("state_dict", tensors)
        return {
            name: tensor.of(storages[tensor.key])
            for name, tensor in tensors.items()
            if isinstance(tensor, _Tensor)
        }

    return _reading(path, "a state dict of PyTorch's", read)


def _zipped(file: BinaryIO, path: Path) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        (program,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = program.removesuffix("data.pkl") + "data/"
        tensors = _Unpickler(io.BytesIO(archive.read(program)), _OF_TORCH, path).load()
        names = [name for name in archive.namelist() if name.startswith(folder)]
        return tensors, {name.removeprefix(folder): archive.read(name) for name in names}


def _legacy(file: BinaryIO, path: Path) -> tuple[Any, dict[str, bytes]]:
    def load() -> Any:
        return _Unpickler(file, _OF_TORCH, path).load()

    if load() != LEGACY_MAGIC:
        raise ValueError("it begins otherwise")
    load()  # the protocol's version
    load()  # the system that wrote it
    tensors = load()
    kinds = {t.key: t.kind for t in tensors.get("state_dict", tensors).values()}
    storages = {}
    for key in load():
        count = int.from_bytes(file.read(8), "little")
        storages[key] = file.read(count * kinds[key].itemsize)
    return tensors, storages


def npy_file(path: Path) -> Any:
    """What is in a .npy file, which may be a dictionary of arrays.

    Raises:
      UserError: the file is damaged or another, or holds more than arrays.
    """

    def read(file: BinaryIO) -> Any:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        _, _, kind = read_header(file)
        if not kind.hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        found = _Unpickler(file, _OF_NUMPY, path).load()
        return found.item() if found.shape == () else found

    return _reading(path, "a .npy file of arrays", read)


def _reading(path: Path, expected: str, read: Callable[[BinaryIO], Any]) -> Any:
    try:
        with path.open("rb") as file:
            return read(file)
    except UserError:
        raise
    except Exception as error:  # what a damaged pickle raises may be anything
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UserError(f"--weights={path}: it is not {expected}, or damaged ({reason})") from None
