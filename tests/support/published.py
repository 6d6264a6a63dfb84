"""Small networks in files as other programs write them, built by the formats' rules."""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from src.convert.tensor_layout import Layers
from src.models.architecture import Architecture
from tests.support import miniature

CLASSES = 7
NAMES = [f"class {i}" for i in range(CLASSES)]
SIZE, CROP = 104, 95  # for which floor and ceiling of the pools agree, as they do for 224


def recipe(module: Any, dataset: str = "digits") -> ConfigDict:
    """A recipe for a small network."""
    config = module.get_config(dataset)
    network = Architecture.from_config(config.model)
    network = miniature.shrunk(network, image_size=CROP)
    config.model = ConfigDict(asdict(network))
    config.data.size = SIZE
    config.views = 1
    return config


def grouped_shapes(architecture: Architecture, num_classes: int) -> dict[str, tuple[int, ...]]:
    """The weights' shape of each layer in PyTorch and Caffe; every dense layer sees all towers."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for name, spec in architecture.convs.items():
        is_grouped = shapes and name not in architecture.exchange_before
        group = inputs // architecture.towers if is_grouped else inputs
        shapes[name] = (spec.maps, group, spec.size, spec.size)
        inputs = spec.maps
    *_, (_, side) = architecture.spatial_sizes().values()
    inputs *= side**2
    for name, dense in architecture.dense.items():
        shapes[name] = (dense.units or num_classes, inputs)
        inputs = dense.units
    return shapes


def random_layers(config: ConfigDict) -> Layers:
    """Random weights as PyTorch and Caffe lay them out, which keep the signal's magnitude."""
    random = np.random.default_rng(1)
    architecture = Architecture.from_config(config.model)
    return {
        name: (
            (random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32),
            (0.3 * random.standard_normal(shape[0])).astype(np.float32),
        )
        for name, shape in grouped_shapes(architecture, CLASSES).items()
    }


# PyTorch

TORCHVISION_MODULES = ["features.0", "features.3", "features.6", "features.8", "features.10"]
TORCHVISION_MODULES += ["classifier.1", "classifier.4", "classifier.6"]


def state_dict(config: ConfigDict) -> dict[str, np.ndarray]:
    pairs = zip(TORCHVISION_MODULES, random_layers(config).values(), strict=True)
    return {
        f"{name}.{kind}": array
        for name, arrays in pairs
        for kind, array in zip(("weight", "bias"), arrays, strict=True)
    }


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content.encode())) + content.encode()


def integer(number: int) -> bytes:
    encoded = pickle.encode_long(number)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def integers(*numbers: int) -> bytes:
    return b"(" + b"".join(map(integer, numbers)) + b"t"


def tensor(
    key: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    kind: str = "Float",
    end: bytes = b"",
) -> bytes:
    """The part of torch.save's pickle that builds a tensor of storage `key`."""
    storage = b"ctorch\n" + kind.encode() + b"Storage\n"
    location = text(key) + text("cpu") + integer(math.prod(shape))
    identity = b"(" + text("storage") + storage + location + end + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = identity + b"K\x00" + integers(*shape) + integers(*strides) + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def dictionary(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(name) + item for name, item in items.items()) + b"u"


def state_dict_pickle(tensors: Mapping[str, np.ndarray], end: bytes = b"") -> bytes:
    """The part that builds a state dict; each tensor fills the storage of its name."""
    return dictionary(
        {
            name: tensor(name, a.shape, tuple(s // a.itemsize for s in a.strides), end=end)
            for name, a in tensors.items()
        }
    )


def write_zip(
    path: Path, saved: bytes, storages: Mapping[str, np.ndarray], form: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", form) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + saved + b".")
        archive.writestr("archive/version", "3")
        for key, numbers in storages.items():
            archive.writestr(f"archive/data/{key}", numbers.tobytes())
    return path


def write_legacy(path: Path, saved: bytes, storages: Mapping[str, np.ndarray]) -> Path:
    before = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    after = pickle.dumps(list(storages), 2)
    after += b"".join(struct.pack("<q", a.size) + a.tobytes() for a in storages.values())
    path.write_bytes(before + b"\x80\x02" + saved + b"." + after)
    return path


# Caffe


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in the encoding of protocol buffers."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(dimensions: tuple[int, ...], numbers: np.ndarray) -> bytes:
    shape = field(1, b"".join(varint(n % 2**64) for n in dimensions))
    return field(5, numbers.astype("<f4").tobytes()) + field(7, shape)


def new_blob(array: np.ndarray) -> bytes:
    return blob(array.shape, array)


def old_blob(array: np.ndarray) -> bytes:
    """With four axes, unpacked."""
    shape = (1,) * (4 - array.ndim) + array.shape
    axes = b"".join(varint(i << 3) + varint(n) for i, n in enumerate(shape, 1))
    return axes + b"".join(varint(5 << 3 | 5) + struct.pack("<f", x) for x in array.ravel())


def new_layer(name: str, *blobs: bytes) -> bytes:
    return field(100, field(1, name.encode()) + b"".join(field(7, blob) for blob in blobs))


def old_layer(name: str, *blobs: bytes) -> bytes:
    return field(2, field(4, name.encode()) + b"".join(field(6, blob) for blob in blobs))


def after_conv1(config: ConfigDict) -> list[str]:
    names = {"activation": "relu1", "lrn": "norm1", "pool": "pool1"}
    return [names[operation] for operation in config.model.convs.conv1.followed_by]


def caffemodel(layers: Layers, config: ConfigDict, form: str = "new") -> bytes:
    layer, blob = (new_layer, new_blob) if form == "new" else (old_layer, old_blob)
    written = [layer("data")]
    for name, arrays in layers.items():
        written.append(layer(name, *map(blob, arrays)))
        if name == "conv1":
            written += map(layer, after_conv1(config))
    return field(1, b"AlexNet") + b"".join(written)


# caffe-to-tensorflow


def tensorflow_layout(layers: Layers) -> Layers:
    """Kernels (h, w, in, out), fc6 by (height, width, map)."""
    converted = {}
    for name, (weights, biases) in layers.items():
        if weights.ndim == 4:
            weights = weights.transpose(2, 3, 1, 0)
        elif name == "fc6":
            maps = len(layers["conv5"][1])
            side = int((weights.shape[1] / maps) ** 0.5)
            split = weights.reshape(-1, maps, side, side).transpose(2, 3, 1, 0)
            weights = split.reshape(-1, len(weights))
        else:
            weights = weights.T
        converted[name] = weights, biases
    return converted


def write_npy_pickle(path: Path, program: bytes) -> Path:
    """A .npy of one object, which a pickle builds."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(header.getvalue() + program)
    return path


def write_npy(path: Path, layers: Any) -> Path:
    """As in the days of Python 2, when NumPy's modules had other names."""
    boxed = np.empty((), dtype=object)
    boxed[()] = layers
    return write_npy_pickle(path, pickle.dumps(boxed, 2).replace(b"numpy._core", b"numpy.core"))
