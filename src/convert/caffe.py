"""Caffe's binary files, by the parts of its protocol buffers that weights are in.

The definition is that of BVLC/caffe's src/caffe/proto/caffe.proto. Networks that were saved before
2015 have `layers`, later ones `layer`.
"""

import math
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ..errors import UserError

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


class Network(NamedTuple):
    """What a .caffemodel tells of its network."""

    blobs: dict[str, list[np.ndarray]]  # of each layer: weights, biases
    order: list[str]  # of the layers' names, also of those that have no weights


def caffemodel(file: BinaryIO) -> Network:
    """A network's layers.

    Raises:
      UserError: a blob is damaged. Another file raises whatever.
    """
    network = _parse(file, "NetParameter")
    layers = [*network.layer, *network.layers]
    return Network(
        {layer.name: [_array(blob) for blob in layer.blobs] for layer in layers},
        [layer.name for layer in layers],
    )


def binaryproto(file: BinaryIO) -> np.ndarray:
    """A single blob, such as a mean image (1, 3, H, W).

    Raises:
      UserError: it is damaged. Another file raises whatever.
    """
    return _array(_parse(file, "BlobProto"))


def _parse(file: BinaryIO, message: str) -> Any:
    parsed = _messages()[f"caffe.{message}"]()
    parsed.ParseFromString(file.read())
    return parsed


def _array(blob: Any) -> np.ndarray:
    numbers = np.array(blob.data or blob.double_data, np.float32)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    if min(shape) < 1 or math.prod(shape) != len(numbers):
        raise UserError(f"damaged: a blob of {shape} has {len(numbers)} numbers")
    return numbers.reshape(shape)
