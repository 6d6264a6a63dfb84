"""The files that AlexNets are passed around in, each with what its program does to images."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from src.errors import UserError
from src.weights import caffe, pickles
from src.weights.layout import Layers

TORCHVISION = {
    **{f"features.{i}": f"conv{n}" for n, i in enumerate((0, 3, 6, 8, 10), 1)},
    **{f"classifier.{i}": f"fc{n}" for n, i in enumerate((1, 4, 6), 6)},
}
# torchvision scales pixels to 0…1, subtracts these means of RGB, and divides by the deviations.
TORCHVISION_MEANS = 255 * np.array([0.485, 0.456, 0.406], np.float32)
TORCHVISION_DEVIATIONS = 255 * np.array([0.229, 0.224, 0.225], np.float32)
CAFFE_MEANS = np.array([122.67891434, 116.66876762, 104.00698793], np.float32)  # of its mean image


class Weights(NamedTuple):
    """A network's weights, for RGB images of 0 to 255 of which a mean is subtracted."""

    kind: str
    layers: Layers
    mean: np.ndarray  # float32 (3,) or (size, size, 3)


def read(path: Path) -> Weights:
    """Reads a file of weights.

    Args:
      path: by its ending, .pth, .pt or .safetensors: torchvision's AlexNet; .caffemodel or .npy:
        Caffe's, whose images are BGR.

    Raises:
      UserError: it is not there, damaged, of another kind, or of another network.
    """
    if path.suffix not in READERS:
        raise UserError(f"--weights={path}: its ending is none of {', '.join(READERS)}")
    if not path.is_file():
        raise UserError(f"--weights={path}: there is no such file")
    return READERS[path.suffix](path)


def _pth(path: Path) -> Weights:
    return _of_torchvision(path, pickles.torch_file(path))


def _safetensors(path: Path) -> Weights:
    try:
        return _of_torchvision(path, load_file(path))
    except SafetensorError as error:
        raise UserError(f"--weights={path}: no safetensors, or damaged ({error})") from None


def _of_torchvision(path: Path, tensors: dict[str, np.ndarray]) -> Weights:
    named = {name.replace("module.", ""): tensor for name, tensor in tensors.items()}
    layers = {}
    for theirs, ours in TORCHVISION.items():
        if not {f"{theirs}.weight", f"{theirs}.bias"} <= named.keys():
            raise UserError(
                f"--weights={path}: {theirs}.weight and .bias of torchvision's AlexNet are "
                f"missing; found {', '.join(list(named)[:4]) or 'nothing'}"
            )
        layers[ours] = named[f"{theirs}.weight"], named[f"{theirs}.bias"]
    weights, biases = layers["conv1"]
    if weights.ndim == 4 and weights.shape[1] == 3:
        weights = weights / TORCHVISION_DEVIATIONS[:, None, None]
    return Weights(
        "torchvision's AlexNet", {**layers, "conv1": (weights, biases)}, TORCHVISION_MEANS
    )


def _caffemodel(path: Path) -> Weights:
    layers = {}
    for name, blobs in caffe.caffemodel(path).items():
        if len(blobs) == 2:
            weights, biases = blobs
            if name.startswith("fc"):  # older files have four axes for everything
                weights = weights.reshape(weights.shape[-2:])
            layers[name] = weights, biases.ravel()
    return Weights("a .caffemodel", _from_bgr(layers), CAFFE_MEANS)


def _npy(path: Path) -> Weights:
    found = pickles.npy_file(path)
    if not isinstance(found, dict):
        raise UserError(
            f"--weights={path}: it has no dictionary of layers, as bvlc_alexnet.npy has"
        )
    layers = {}
    for name, pair in found.items():
        weights, biases = (np.asarray(array, np.float32) for array in pair)
        layers[str(name)] = (
            weights.transpose(3, 2, 0, 1) if weights.ndim == 4 else weights.T,
            biases,
        )
    if "conv5" in layers and "fc6" in layers:
        layers["fc6"] = _from_places_first(layers["fc6"], maps=len(layers["conv5"][1]))
    return Weights("a .npy of Caffe's AlexNet", _from_bgr(layers), CAFFE_MEANS)


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


def _from_bgr(layers: Layers) -> Layers:
    if "conv1" not in layers:
        return layers
    weights, biases = layers["conv1"]
    return {**layers, "conv1": (weights[:, ::-1], biases)}


READERS: dict[str, Callable[[Path], Weights]] = {
    ".pth": _pth,
    ".pt": _pth,
    ".safetensors": _safetensors,
    ".caffemodel": _caffemodel,
    ".npy": _npy,
}


def read_mean(path: Path, size: int) -> np.ndarray:
    """Caffe's mean image, BGR, from a .binaryproto or a .npy: float32 (size, size, 3), RGB.

    Raises:
      UserError: it is damaged, or of another size.
    """
    if path.suffix == ".npy":
        found = np.asarray(pickles.npy_file(path), np.float32)
    else:
        found = caffe.binaryproto(path)
    if found.size not in (3, 3 * size**2):
        raise UserError(
            f"--mean={path}: {found.shape}, where a mean image of (3, {size}, {size}) is needed"
        )
    planes = found.reshape(3, 1, 1) if found.size == 3 else found.reshape(3, size, size)
    return np.broadcast_to(planes[::-1].transpose(1, 2, 0), (size, size, 3))
