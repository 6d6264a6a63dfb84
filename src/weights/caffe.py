"""Caffe's binary files, by the parts of its protocol buffers that weights are in.

The definition is that of BVLC/caffe's src/caffe/proto/caffe.proto. Networks that were saved before
2015 have `layers`, later ones `layer`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from src.errors import UserError

# message → field: number, type, and whether there are many
_DEFINITION: dict[str, dict[str, tuple[int, str, bool]]] = {
    "BlobShape": {"dim": (1, "int64", True)},
    "BlobProto": {
        "num": (1, "int32", False),
        "channels": (2, "int32", False),
        "height": (3, "int32", False),
        "width": (4, "int32", False),
        "data": (5, "float", True),
        "shape": (7, "BlobShape", False),
        "double_data": (8, "double", True),
    },
    "LayerParameter": {"name": (1, "string", False), "blobs": (7, "BlobProto", True)},
    "V1LayerParameter": {"name": (4, "string", False), "blobs": (6, "BlobProto", True)},
    "NetParameter": {
        "layers": (2, "V1LayerParameter", True),
        "layer": (100, "LayerParameter", True),
    },
}


def _messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in _DEFINITION.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, many) in fields.items():
            label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            made = described.field.add(name=name, number=number, label=label)
            if kind in _DEFINITION:
                made.type, made.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                made.type = getattr(field, f"TYPE_{kind.upper()}")
                made.options.packed = many
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles(["caffe.proto"], pool)


def caffemodel(path: Path) -> dict[str, list[np.ndarray]]:
    """The blobs of each layer that has any: weights, biases.

    Raises:
      UserError: the file is damaged or another.
    """
    network = _parse(path, "NetParameter", "a .caffemodel")
    layers = [*network.layer, *network.layers]
    return {layer.name: [_array(path, blob) for blob in layer.blobs] for layer in layers}


def binaryproto(path: Path) -> np.ndarray:
    """A single blob, such as a mean image (1, 3, H, W).

    Raises:
      UserError: the file is damaged or another.
    """
    return _array(path, _parse(path, "BlobProto", "a .binaryproto"))


def _parse(path: Path, message: str, expected: str) -> Any:
    parsed = _messages()[f"caffe.{message}"]()
    try:
        parsed.ParseFromString(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except DecodeError:
        raise UserError(f"{path}: it is not {expected} of Caffe's, or damaged") from None
    return parsed


def _array(path: Path, blob: Any) -> np.ndarray:
    numbers = np.array(blob.data or blob.double_data, np.float32)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    if np.prod(shape) != len(numbers):
        raise UserError(f"{path}: damaged: a blob of {shape} has {len(numbers)} numbers")
    return numbers.reshape(shape)
