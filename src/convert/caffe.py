"""Caffe's binary files: the parts of its protocol buffers that hold weights.

Source: src/caffe/proto/caffe.proto of BVLC/caffe. Files from before 2015 have `layers`, later files
have `layer`.
"""

import math
from typing import Any, BinaryIO

import numpy as np

from ..data.protobuf import message_class
from ..errors import UserError

_FIELDS = (  # message, label, type, name, number
    ("BlobShape", "repeated", "int64", "dim", 1),
    ("BlobProto", "optional", "int32", "num", 1),
    ("BlobProto", "optional", "int32", "channels", 2),
    ("BlobProto", "optional", "int32", "height", 3),
    ("BlobProto", "optional", "int32", "width", 4),
    ("BlobProto", "repeated", "float", "data", 5),
    ("BlobProto", "optional", "BlobShape", "shape", 7),
    ("BlobProto", "repeated", "double", "double_data", 8),
    ("LayerParameter", "optional", "string", "name", 1),
    ("LayerParameter", "repeated", "BlobProto", "blobs", 7),
    ("V1LayerParameter", "optional", "string", "name", 4),
    ("V1LayerParameter", "repeated", "BlobProto", "blobs", 6),
    ("NetParameter", "repeated", "V1LayerParameter", "layers", 2),
    ("NetParameter", "repeated", "LayerParameter", "layer", 100),
)


def read_caffemodel(file: BinaryIO) -> dict[str, list[np.ndarray]]:
    """The weights and biases of each layer in the network's order; none for a layer without them.

    Raises:
      UserError: a blob is damaged. Another format raises any exception.
    """
    network = message_class("NetParameter", _FIELDS).FromString(file.read())
    layers = [*network.layer, *network.layers]
    return {layer.name: [_to_array(blob) for blob in layer.blobs] for layer in layers}


def read_binaryproto(file: BinaryIO) -> np.ndarray:
    """A single blob, such as a mean image (1, 3, H, W); raises as `read_caffemodel` does."""
    return _to_array(message_class("BlobProto", _FIELDS).FromString(file.read()))


def _to_array(blob: Any) -> np.ndarray:
    values = np.array(blob.data or blob.double_data, np.float32)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    if min(shape) < 1 or math.prod(shape) != len(values):
        raise UserError(f"damaged: a blob of {shape} has {len(values)} values")
    return values.reshape(shape)
