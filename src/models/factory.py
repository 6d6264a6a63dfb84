"""Networks from their descriptions: whole, or apart as a graph and the shapes of its parameters."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from .alexnet import AlexNet
from .architecture import Architecture
from .kernels import PLAIN, Kernels

Params = dict[str, dict[str, Any]]
"""{layer: {"kernel": (towers, …), "bias": (towers, out)}}, as arrays or their shapes."""


def init_params(architecture: Architecture, num_classes: int, key: jax.Array) -> Params:
    """The initial parameters, a function of the key alone."""
    model = AlexNet(num_classes, architecture, rngs=nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.state(model))


def abstract_params(architecture: Architecture, num_classes: int) -> Params:
    """The shapes and types of the parameters (`jax.ShapeDtypeStruct`); nothing is computed."""
    return jax.eval_shape(lambda: init_params(architecture, num_classes, jax.random.key(0)))


def graphdef(
    architecture: Architecture,
    num_classes: int,
    dtype: jax.typing.DTypeLike = jnp.float32,
    kernels: Kernels = PLAIN,
) -> nnx.GraphDef:
    """The network without its parameters: `nnx.merge(graphdef, params)` is an `AlexNet`."""
    make = functools.partial(AlexNet, num_classes, architecture, dtype=dtype, kernels=kernels)
    model = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    return nnx.graphdef(model)


def rescale(params: Params, source: Architecture, target: Architecture) -> Params:
    """The parameters with which `target` computes what `source` does with `params`.

    Where their dropout fields differ, the kernels behind dropout are scaled to compensate.
    """
    factor = source.test_scale / target.test_scale
    _, *behind_dropout = source.dense
    return {
        name: {**layer, "kernel": layer["kernel"] * factor}
        if name in behind_dropout and factor != 1
        else layer
        for name, layer in params.items()
    }


def parameter_counts(architecture: Architecture, num_classes: int) -> dict[str, int]:
    """The number of parameters of each layer, without those of outputs that stand for no class."""
    params = abstract_params(architecture, num_classes)
    counts = {
        layer: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params[layer]))
        for layer in architecture.layer_names
    }
    towers, in_features, out_features = params[architecture.head]["kernel"].shape
    counts[architecture.head] -= (towers * out_features - num_classes) * (in_features + 1)
    return counts
