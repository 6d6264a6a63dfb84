"""Builds networks, with or without their parameters."""

import math
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from .alexnet import AlexNet
from .architecture import Architecture, layer_number


def build_model(config: ConfigDict, num_classes: int) -> AlexNet:
    """The configured network, drawn from `config.seed`."""
    architecture = Architecture.from_fields(config.model.to_dict())
    initial_key, _ = jax.random.split(jax.random.key(config.seed))
    return AlexNet(num_classes, architecture, dtype=config.dtype, rngs=nnx.Rngs(initial_key))


def graphdef(config: ConfigDict, num_classes: int) -> nnx.GraphDef:
    """The network without its parameters; `nnx.merge(graph, params)` puts them together."""
    return nnx.split(nnx.eval_shape(lambda: build_model(config, num_classes)))[0]


def parameter_counts(params: Any, num_classes: int) -> dict[str, int]:
    """How many parameters each layer has, but for those of outputs that stand for no class.

    Args:
      params: {layer: {"kernel": …, "bias": …}}, of all towers, as arrays or their shapes.
      num_classes: of the network.
    """
    counts = {
        layer: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(of_layer))
        for layer, of_layer in params.items()
    }
    last = max(params, key=layer_number)
    towers, seen, made = params[last]["kernel"].shape
    counts[last] -= (towers * made - num_classes) * (seen + 1)
    return counts
