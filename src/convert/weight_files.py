"""The files that AlexNets are passed around in, each with what its program does to images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from ..errors import UserError
from ..models.presets import TORCHVISION
from .caffe import binaryproto, caffemodel
from .layout import Layers
from .npy import npy_layers
from .pytorch import state_dict

NAMES = {
    **{f"features.{i}": f"conv{n}" for n, i in enumerate((0, 3, 6, 8, 10), 1)},
    **{f"classifier.{i}": f"fc{n}" for n, i in enumerate((1, 4, 6), 6)},
}
# torchvision scales pixels to 0…1, subtracts these means of RGB, and divides by the deviations.
TORCHVISION_MEANS = 255 * np.array([0.485, 0.456, 0.406], np.float32)
TORCHVISION_DEVIATIONS = 255 * np.array([0.229, 0.224, 0.225], np.float32)
CAFFE_MEANS = np.array([122.67891434, 116.66876762, 104.00698793], np.float32)  # of its mean image
CAFFE_RECIPES = ("configs/bvlc_alexnet.py", "configs/caffenet.py")


class Weights(NamedTuple):
    """A network's weights, for RGB images of 0 to 255 of which a mean is subtracted."""

    kind: str
    recipes: tuple[str, ...]  # of `networks.RECIPES`, those whose network it may be
    layers: Layers  # float32, finite
    mean: np.ndarray  # float32 (3,) or (size, size, 3)


def read(path: Path) -> Weights:
    """Reads a file of weights.

    Args:
      path: by its ending, .pth, .pth.tar, .pt or .safetensors: torchvision's AlexNet; .caffemodel
        or .npy: Caffe's, whose images are BGR.

    Raises:
      UserError: it is not there, damaged, of another kind, or of another network.
    """
    for ending, (expected, reader) in READERS.items():
        if path.name.lower().endswith(ending):
            return _reading(f"--weights={path}", path, expected, reader)
    raise UserError(f"--weights={path}: its ending is none of {', '.join(READERS)}")


def read_mean(path: Path, size: int) -> np.ndarray:
    """Caffe's mean image, BGR, from a .binaryproto or a .npy: float32 (size, size, 3), RGB.

    Raises:
      UserError: it is not there, damaged, or of another size.
    """

    def planes(file: BinaryIO) -> np.ndarray:
        is_npy = path.suffix.lower() == ".npy"
        found = np.load(file, allow_pickle=False) if is_npy else binaryproto(file)
        if found.shape not in ((3,), (3, size, size), (1, 3, size, size)):
            raise UserError(f"{found.shape}, where a mean image of (3, {size}, {size}) is needed")
        places = found.shape[-2:] if found.ndim > 1 else (1, 1)
        return _finite("it", 1.0 * found.reshape(3, *places))  # whole numbers do, too

    bgr = _reading(f"--mean={path}", path, "Caffe's mean image, .binaryproto or .npy", planes)
    return np.broadcast_to(bgr[::-1].transpose(1, 2, 0), (size, size, 3))


def _reading(flag: str, path: Path, expected: str, read: Callable[[BinaryIO], Any]) -> Any:
    """What `read` makes of a file; whatever it raises, the user is told in one line."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{flag}: {error.strerror}") from None
    with file:
        try:
            return read(file)
        except UserError as error:
            raise UserError(f"{flag}: {error}") from None
        except Exception:  # what a damaged file raises may be anything, and says little
            raise UserError(f"{flag}: it is not {expected}, or damaged") from None


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(array.dtype, np.floating):
        raise UserError(f"{name} is of {array.dtype}, where floating-point numbers are needed")
    with np.errstate(over="ignore"):
        made = array.astype(np.float32)
    if not np.isfinite(made).all():
        raise UserError(f"{name} has numbers that are not finite")
    return made


def _all_finite(layers: Layers) -> Layers:
    return {name: (_finite(name, w), _finite(name, b)) for name, (w, b) in layers.items()}


def _pth(file: BinaryIO) -> Weights:
    return _of_torchvision(state_dict(file))


def _safetensors(file: BinaryIO) -> Weights:
    return _of_torchvision(load_file(file.name))


def _of_torchvision(tensors: dict[str, np.ndarray]) -> Weights:
    named = {name.replace("module.", ""): tensor for name, tensor in tensors.items()}
    found = {}
    for theirs, ours in NAMES.items():
        if not {f"{theirs}.weight", f"{theirs}.bias"} <= named.keys():
            raise UserError(
                f"{theirs}.weight and .bias of torchvision's AlexNet are missing; found "
                f"{', '.join(list(named)[:4]) or 'nothing'}"
            )
        found[ours] = named[f"{theirs}.weight"], named[f"{theirs}.bias"]
    layers = _all_finite(found)
    weights, biases = layers["conv1"]
    if weights.ndim == 4 and weights.shape[1] == 3:
        scale = TORCHVISION_DEVIATIONS * TORCHVISION.input_scale
        weights = weights / scale[:, None, None].astype(np.float32)
    layers["conv1"] = weights, biases
    return Weights("torchvision's AlexNet", ("configs/torchvision.py",), layers, TORCHVISION_MEANS)


def _caffemodel(file: BinaryIO) -> Weights:
    blobs, order = caffemodel(file)
    if not {"norm1", "pool1"} <= set(order):
        raise UserError("norm1 and pool1 of Caffe's AlexNet and CaffeNet are missing")
    is_bvlc = order.index("norm1") < order.index("pool1")
    layers = {}
    for name, arrays in blobs.items():
        if len(arrays) == 2:
            weights, biases = arrays
            if name.startswith("fc") and weights.ndim == 4 and weights.shape[:2] == (1, 1):
                weights = weights[0, 0]  # older files have four axes for everything
            layers[name] = weights, biases.ravel()
    recipes = CAFFE_RECIPES[:1] if is_bvlc else CAFFE_RECIPES[1:]
    return _of_caffe("a .caffemodel", recipes, layers)


def _npy(file: BinaryIO) -> Weights:
    layers = {
        name: (weights.transpose(3, 2, 0, 1) if weights.ndim == 4 else weights.T, biases)
        for name, (weights, biases) in npy_layers(file).items()
    }
    if "conv5" in layers and "fc6" in layers:
        layers["fc6"] = _from_places_first(layers["fc6"], maps=len(layers["conv5"][1]))
    return _of_caffe("a .npy of Caffe's AlexNet", CAFFE_RECIPES, layers)


def _from_places_first(
    layer: tuple[np.ndarray, np.ndarray], maps: int
) -> tuple[np.ndarray, np.ndarray]:
    """From inputs by (height, width, map), as TensorFlow flattens, to (map, height, width)."""
    weights, biases = layer
    side = round((weights.shape[1] / maps) ** 0.5)
    if maps * side**2 != weights.shape[1]:
        return layer  # of another network, which will be told by its shape
    split = weights.reshape(len(weights), side, side, maps)
    return split.transpose(0, 3, 1, 2).reshape(weights.shape), biases


def _of_caffe(kind: str, recipes: tuple[str, ...], found: Layers) -> Weights:
    layers = _all_finite(found)
    if "conv1" in layers:
        weights, biases = layers["conv1"]
        layers["conv1"] = weights[:, ::-1], biases
    return Weights(kind, recipes, layers, CAFFE_MEANS)


_OF_TORCH = ("a state dict of PyTorch's with the tensors of torchvision's AlexNet", _pth)
READERS: dict[str, tuple[str, Callable[[BinaryIO], Weights]]] = {
    ".pth": _OF_TORCH,
    ".pth.tar": _OF_TORCH,
    ".pt": _OF_TORCH,
    ".safetensors": ("a .safetensors with the tensors of torchvision's AlexNet", _safetensors),
    ".caffemodel": ("a .caffemodel of Caffe's AlexNet or CaffeNet", _caffemodel),
    ".npy": ("a .npy with weights and biases, floats, of each layer of Caffe's AlexNet", _npy),
}
