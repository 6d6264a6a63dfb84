"""Published AlexNets: their file formats, and how their programs preprocess images."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from ..errors import UserError, list_names
from ..models.architecture import Architecture
from ..models.presets import BVLC, CAFFENET, TORCHVISION
from .caffe import read_binaryproto, read_caffemodel
from .npy import read_npy
from .pytorch import WRAPPERS, read_state_dict
from .tensor_layout import Layers, maps_first

TORCHVISION_LAYERS = {
    **{f"features.{i}": f"conv{n}" for n, i in enumerate((0, 3, 6, 8, 10), 1)},
    **{f"classifier.{i}": f"fc{n}" for n, i in enumerate((1, 4, 6), 6)},
}
# torchvision scales pixels to 0…1, subtracts these means of RGB, and divides by the deviations.
TORCHVISION_MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
TORCHVISION_DEVIATION = 255 * np.array([0.229, 0.224, 0.225], np.float32)
CAFFE_MEAN = np.array([122.67891434, 116.66876762, 104.00698793], np.float32)  # of its mean image

Recipes = dict[str, Architecture]
TORCHVISION_RECIPE: Recipes = {"configs/torchvision.py": TORCHVISION}
BVLC_RECIPE: Recipes = {"configs/bvlc_alexnet.py": BVLC}
CAFFENET_RECIPE: Recipes = {"configs/caffenet.py": CAFFENET}


class PretrainedWeights(NamedTuple):
    """A network's weights, for RGB images of 0 to 255 from which a mean is subtracted."""

    kind: str
    recipes: Recipes  # each network that these weights can belong to
    layers: Layers  # float32, finite; with or without the dense layers
    mean: np.ndarray  # float32 (3,) or (size, size, 3)


def read_weights(path: Path) -> PretrainedWeights:
    """Reads a file of weights.

    Args:
      path: its extension sets the format. .pth, .pth.tar, .pt and .safetensors have torchvision's
        AlexNet; .caffemodel and .npy have a network of Caffe, whose images are BGR.

    Raises:
      UserError: the file is missing, is damaged, or has another format or another network.
    """
    for ending, (expected, read) in READERS.items():
        if path.name.lower().endswith(ending):
            with _open(f"--weights={path}", path, expected) as file:
                return read(file)
    raise UserError(f"--weights={path}: its extension must be one of {', '.join(READERS)}")


def read_mean(path: Path, size: int) -> np.ndarray:
    """Caffe's mean image, BGR, from a .binaryproto or a .npy: float32 (size, size, 3), RGB.

    Raises:
      UserError: the file is missing or damaged, or has another size.
    """
    with _open(f"--mean={path}", path, "Caffe's mean image, .binaryproto or .npy") as file:
        is_npy = path.suffix.lower() == ".npy"
        bgr = np.load(file, allow_pickle=False) if is_npy else read_binaryproto(file)
        if bgr.shape not in ((3,), (3, size, size), (1, 3, size, size)):
            raise UserError(f"it has the shape {bgr.shape}, but must be (3, {size}, {size})")
        planes = bgr.reshape(3, *(bgr.shape[-2:] if bgr.ndim > 1 else (1, 1)))
        rgb = _finite("it", 1.0 * planes)[::-1]  # a mean of integers is allowed
    return np.broadcast_to(rgb.transpose(1, 2, 0), (size, size, 3))


@contextlib.contextmanager
def _open(flag: str, path: Path, expected: str) -> Iterator[BinaryIO]:
    """Opens a file, and turns every exception of its reader into a UserError."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{flag}: {error.strerror}") from None
    with file:
        try:
            yield file
        except UserError as error:
            raise UserError(f"{flag}: {error}") from None
        except Exception:  # a damaged file raises any type, with a message that does not help
            raise UserError(f"{flag}: it is not {expected}, or damaged") from None


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(array.dtype, np.floating):
        raise UserError(f"{name} has the type {array.dtype}, but it must be floating-point")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise UserError(f"{name} has values that are not finite")
    return single


def _all_finite(layers: Layers) -> Layers:
    return {name: (_finite(name, w), _finite(name, b)) for name, (w, b) in layers.items()}


def _from_torchvision(tensors: dict[str, np.ndarray]) -> PretrainedWeights:
    unwrapped = {
        ".".join(part for part in name.split(".") if part not in WRAPPERS): tensor
        for name, tensor in tensors.items()
    }
    if len(unwrapped) < len(tensors):
        raise UserError(f"it has several networks: {list_names(tensors, 20)}; keep one")
    has_dense = any(name.startswith("classifier.") for name in unwrapped)
    layers = {}
    for module, name in TORCHVISION_LAYERS.items():
        if not has_dense and name.startswith("fc"):
            continue
        try:
            layers[name] = unwrapped[f"{module}.weight"], unwrapped[f"{module}.bias"]
        except KeyError:
            raise UserError(
                f"{module}.weight or .bias of torchvision's AlexNet is missing; the file has "
                f"{list_names(tensors, 20)}"
            ) from None
    layers = _all_finite(layers)
    weights, biases = layers["conv1"]
    if weights.ndim == 4 and weights.shape[1] == 3:
        scale = TORCHVISION_DEVIATION * TORCHVISION.input_scale
        layers["conv1"] = weights / scale[:, None, None].astype(np.float32), biases
    kind = "torchvision's AlexNet"
    return PretrainedWeights(kind, TORCHVISION_RECIPE, layers, TORCHVISION_MEAN)


def _from_caffemodel(file: BinaryIO) -> PretrainedWeights:
    blobs = read_caffemodel(file)
    if not {"norm1", "pool1"} <= blobs.keys():
        raise UserError(
            "norm1 or pool1 of Caffe's AlexNet and CaffeNet is missing; the file has "
            f"{list_names(blobs, 20)}"
        )
    layers = {}
    for name, arrays in blobs.items():
        if len(arrays) == 2:
            weights, biases = arrays
            if name.startswith("fc") and weights.ndim == 4 and weights.shape[:2] == (1, 1):
                weights = weights[0, 0]  # all blobs of older files have four axes
            layers[name] = weights, biases.ravel()
    norms_first = list(blobs).index("norm1") < list(blobs).index("pool1")
    return _from_caffe("a .caffemodel", BVLC_RECIPE if norms_first else CAFFENET_RECIPE, layers)


def _from_npy(file: BinaryIO) -> PretrainedWeights:
    layers = {
        name: (weights.transpose(3, 2, 0, 1) if weights.ndim == 4 else weights.T, biases)
        for name, (weights, biases) in read_npy(file).items()
    }
    if "conv5" in layers and "fc6" in layers:
        weights, biases = layers["fc6"]
        maps = len(layers["conv5"][1])
        side = round((weights.shape[1] / maps) ** 0.5)
        if maps * side**2 == weights.shape[1]:  # otherwise, `to_towers` rejects the shape
            layers["fc6"] = maps_first(weights, 1, side), biases  # TensorFlow flattens maps last
    return _from_caffe("a .npy of Caffe's AlexNet", BVLC_RECIPE | CAFFENET_RECIPE, layers)


def _from_caffe(kind: str, recipes: Recipes, layers: Layers) -> PretrainedWeights:
    layers = _all_finite(layers)
    if "conv1" in layers:
        weights, biases = layers["conv1"]
        layers["conv1"] = weights[:, ::-1], biases  # from BGR to RGB
    return PretrainedWeights(kind, recipes, layers, CAFFE_MEAN)


_STATE_DICT = (
    "a state dict of PyTorch with the tensors of torchvision's AlexNet",
    lambda file: _from_torchvision(read_state_dict(file)),
)
READERS: dict[str, tuple[str, Callable[[BinaryIO], PretrainedWeights]]] = {
    **dict.fromkeys((".pth", ".pth.tar", ".pt"), _STATE_DICT),
    ".safetensors": (
        "a .safetensors with the tensors of torchvision's AlexNet",
        lambda file: _from_torchvision(load_file(file.name)),
    ),
    ".caffemodel": ("a .caffemodel of Caffe's AlexNet or CaffeNet", _from_caffemodel),
    ".npy": ("a .npy with float weights and biases of each layer of Caffe's AlexNet", _from_npy),
}
