"""Conversion of weights between this project's layout by towers and others' layout by groups.

By groups, as in PyTorch and Caffe, a convolution's kernel is (out, in per group, height, width) and
a dense layer's is (out, in). The first dense layer's inputs are in the order (map, height, width).
A group is a tower.
"""

from typing import Any

import numpy as np
from scipy.linalg import block_diag

from ..errors import UserError, list_names
from ..models.architecture import Architecture
from ..models.factory import abstract_params

Layers = dict[str, tuple[np.ndarray, np.ndarray]]
"""The weights by groups, and the biases (out,), of each layer."""


def to_towers(layers: Layers, architecture: Architecture, num_classes: int) -> dict[str, Any]:
    """The parameters of `models.alexnet.AlexNet` from weights by groups.

    They lack the dense layers if `layers` has none of these.

    Raises:
      UserError: a layer is missing, or its shape is not the architecture's.
    """
    towers, (first_dense, side) = architecture.towers, _first_dense(architecture)
    has_dense = any(name in layers for name in architecture.dense)
    params = {}
    for name, expected in abstract_params(architecture, num_classes).items():
        if name in architecture.dense and not has_dense:
            continue
        _, *window, inputs, outputs = expected["kernel"].shape
        shape = (num_classes if name == architecture.head else towers * outputs, inputs, *window)
        _check_layer(name, layers, shape, architecture.head)
        weights, biases = layers[name]
        if name in architecture.convs:
            kernel = weights.reshape(towers, -1, *shape[1:]).transpose(0, 3, 4, 2, 1)
        else:
            if name == first_dense:
                split = weights.reshape(len(weights), towers, -1, side, side)
                weights = split.transpose(0, 1, 3, 4, 2).reshape(weights.shape)
            missing = -len(weights) % towers  # outputs that stand for no class
            weights = np.pad(weights, [(0, missing), (0, 0)])
            biases = np.pad(biases, [(0, missing)])
            kernel = weights.reshape(towers, -1, weights.shape[1]).transpose(0, 2, 1)
        params[name] = {
            "kernel": np.ascontiguousarray(kernel, np.float32),
            "bias": biases.reshape(towers, -1).astype(np.float32),
        }
    return params


def to_groups(params: dict[str, Any], architecture: Architecture, num_classes: int) -> Layers:
    """The inverse of `to_towers`, for any architecture.

    A dense layer without exchange becomes a block-diagonal matrix. A locally connected layer's
    kernels are (towers, height, width, in, kernel height, kernel width, out), its biases
    (towers, height, width, out).
    """
    layers, (first_dense, side) = {}, _first_dense(architecture)
    for name, arrays in params.items():
        kernel, biases = np.asarray(arrays["kernel"]), np.asarray(arrays["bias"])
        if name in architecture.convs and architecture.convs[name].local:
            size = architecture.convs[name].size
            split = kernel.reshape(*kernel.shape[:3], size, size, -1, kernel.shape[-1])
            weights = split.transpose(0, 1, 2, 5, 3, 4, 6)
        elif name in architecture.convs:
            split = kernel.transpose(0, 4, 3, 1, 2)
            weights, biases = split.reshape(-1, *split.shape[2:]), biases.ravel()
        else:
            weights, biases = kernel.transpose(0, 2, 1), biases.ravel()
            if name in architecture.exchange_before:
                weights = weights.reshape(-1, weights.shape[-1])
            else:
                weights = block_diag(*weights)
            if name == first_dense:
                weights = maps_first(weights, architecture.towers, side)
            if name == architecture.head:
                weights, biases = weights[:num_classes], biases[:num_classes]
        layers[name] = np.ascontiguousarray(weights), np.ascontiguousarray(biases)
    return layers


def maps_first(weights: np.ndarray, towers: int, side: int) -> np.ndarray:
    """Reorders inputs from (tower, height, width, map) to (tower, map, height, width)."""
    split = weights.reshape(len(weights), towers, side, side, -1)
    return split.transpose(0, 1, 4, 2, 3).reshape(weights.shape)


def _first_dense(architecture: Architecture) -> tuple[str, int]:
    """The first dense layer's name, and the height and width of the maps that are its input."""
    *_, (_, side) = architecture.spatial_sizes().values()
    return next(iter(architecture.dense)), side


def _check_layer(name: str, layers: Layers, shape: tuple[int, ...], head: str) -> None:
    if name not in layers:
        raise UserError(f"--weights: {name} is missing; the file has {list_names(layers, 20)}")
    weights, biases = layers[name]
    if weights.shape == shape and biases.shape == shape[:1]:
        return
    if name == head and weights.shape == (*biases.shape, *shape[1:]):
        raise UserError(
            f"--class_names: {shape[0]} classes, but {name} has {len(biases)} outputs; give a "
            f"file of {len(biases)} names, one per line"
        )
    raise UserError(
        f"--weights: {name} has weights of {weights.shape} and biases of {biases.shape}, but the "
        f"recipe's network needs {shape} and {shape[:1]}; give the weights' recipe as --config"
    )
