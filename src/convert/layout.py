"""The same weights in two layouts: by towers, as here, and by groups, as in PyTorch and Caffe.

There a convolution's kernel is (out, in of a group, height, width), a dense layer's (out, in), and
the first dense layer reads maps by (map, height, width). A group is a tower.
"""

import math
from typing import Any

import numpy as np

from ..errors import UserError
from ..models.architecture import Architecture

Layers = dict[str, tuple[np.ndarray, np.ndarray]]
"""Of each layer its weights and biases (out,), by groups."""


def to_towers(layers: Layers, architecture: Architecture, num_classes: int) -> dict[str, Any]:
    """The parameters of `models.alexnet.AlexNet` from weights by groups.

    Raises:
      UserError: a layer is missing, or of another shape than the architecture's.
    """
    towers = architecture.towers
    *_, last = architecture.dense
    params = {}
    for name, expected in shapes(architecture, num_classes).items():
        if name not in layers:
            raise UserError(f"--weights: {name} is missing; found {', '.join(layers) or 'nothing'}")
        weights, biases = layers[name]
        if weights.shape != expected or biases.shape != expected[:1]:
            if name == last and weights.shape == (*biases.shape, *expected[1:]):
                raise UserError(
                    f"--class_names: {num_classes} classes, where {name} has {len(biases)} "
                    f"outputs; give a file of {len(biases)} names, one a line"
                )
            raise UserError(
                f"--weights: {name} has weights of {weights.shape} and biases of {biases.shape}, "
                f"where the recipe's network has {expected} and {expected[:1]}; give its recipe as "
                "--config"
            )
        if name in architecture.convs:
            kernel = weights.reshape(towers, -1, *expected[1:]).transpose(0, 3, 4, 2, 1)
        else:
            if name == first_dense(architecture):
                weights = _reorder(weights, architecture, (0, 1, 3, 4, 2))
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

    A dense layer that does not see all towers is a matrix with blocks of zeros; one whose places
    have kernels of their own is (towers, height, width, in, kernel height, kernel width, out), with
    biases (towers, height, width, out).
    """
    layers = {}
    last = list(architecture.dense)[-1]
    for name, of_layer in params.items():
        kernel, bias = np.asarray(of_layer["kernel"]), np.asarray(of_layer["bias"])
        if name in architecture.convs and architecture.convs[name].local:
            size = architecture.convs[name].size
            split = kernel.reshape(*kernel.shape[:3], size, size, -1, kernel.shape[-1])
            layers[name] = split.transpose(0, 1, 2, 5, 3, 4, 6), bias
        elif name in architecture.convs:
            weights = kernel.transpose(0, 4, 3, 1, 2)
            layers[name] = weights.reshape(-1, *weights.shape[2:]), bias.ravel()
        else:
            weights = kernel.transpose(0, 2, 1)
            if name not in architecture.exchange_before:
                weights = _block_diagonal(weights)
            weights = weights.reshape(-1, weights.shape[-1])
            if name == first_dense(architecture):
                weights = _reorder(weights, architecture, (0, 1, 4, 2, 3), is_ours=True)
            made = num_classes if name == last else len(weights)
            layers[name] = weights[:made], bias.ravel()[:made]
    return {n: (np.ascontiguousarray(w), np.ascontiguousarray(b)) for n, (w, b) in layers.items()}


def first_dense(architecture: Architecture) -> str:
    """The name of the layer that reads maps."""
    return next(iter(architecture.dense))


def shapes(architecture: Architecture, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Of each layer the weights' shape by groups, where every dense layer sees all towers."""
    found: dict[str, tuple[int, ...]] = {}
    seen = 3
    for name, spec in architecture.convs.items():
        is_grouped = found and name not in architecture.exchange_before
        group = seen // architecture.towers if is_grouped else seen
        found[name] = (spec.maps, group, spec.size, spec.size)
        seen = spec.maps
    *_, (_, side) = architecture.spatial_sizes().values()
    seen *= side**2
    for name, dense in architecture.dense.items():
        found[name] = (dense.units or num_classes, seen)
        seen = dense.units
    return found


def _reorder(
    weights: np.ndarray, architecture: Architecture, order: tuple[int, ...], is_ours: bool = False
) -> np.ndarray:
    """Between inputs by (tower, map, height, width) and by (tower, height, width, map)."""
    *_, (_, side) = architecture.spatial_sizes().values()
    shape = (side, side, -1) if is_ours else (-1, side, side)
    split = weights.reshape(len(weights), architecture.towers, *shape)
    return split.transpose(order).reshape(weights.shape)


def _block_diagonal(weights: np.ndarray) -> np.ndarray:
    """(towers, out, in) → (towers, out, towers · in)."""
    towers, out, seen = weights.shape
    whole = np.zeros((towers, out, towers, seen), weights.dtype)
    for tower in range(towers):
        whole[tower, :, tower] = weights[tower]
    return whole.reshape(towers, out, math.prod((towers, seen)))
