"""Stochastic gradient descent with momentum, in the paper's form."""

import fnmatch
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


def is_frozen(layer: str, patterns: str) -> bool:
    """Whether a layer's name is like one of some patterns, such as "conv*,fc6"."""
    return any(fnmatch.fnmatchcase(layer, pattern) for pattern in patterns.split(","))


def momentum_sgd(
    rate: jax.typing.ArrayLike,
    *,
    momentum: float,
    weight_decay: float,
    weight_decays: Mapping[str, float],
    decay_biases: bool,
    bias_lr_multiplier: float,
    frozen_layers: str = "",
) -> optax.GradientTransformation:
    """v ← momentum·v − weight_decay·rate·w − rate·g; w ← w + v (the paper's section 5).

    The rate is inside the velocity, so that lowering it leaves the velocity as it was; `optax.sgd`
    multiplies the whole velocity by the rate.

    Args:
      rate: the learning rate ε of this step; the state does not depend on it.
      momentum: 0.9 in the paper.
      weight_decay: 0.0005 in the paper.
      weight_decays: of layers that have one of their own, by name.
      decay_biases: whether it applies to the biases as well; in the authors' code it does not.
      bias_lr_multiplier: the biases' rate, in units of `rate`: 1 in the paper, 2 in the authors' code.
      frozen_layers: which layers stay as they are: see `is_frozen`.
    """

    def step(path: tuple[Any, ...], gradient: jax.Array, w: jax.Array) -> jax.Array:
        layer, is_bias = path[0].key, path[-1].key == "bias"
        if is_frozen(layer, frozen_layers):
            return jnp.zeros_like(w)
        decayed = 0 if is_bias and not decay_biases else weight_decays.get(layer, weight_decay)
        own_rate = jnp.multiply(rate, bias_lr_multiplier if is_bias else 1)
        return -own_rate * (gradient + decayed * w)

    return optax.chain(
        optax.stateless(functools.partial(jax.tree_util.tree_map_with_path, step)),
        optax.trace(momentum),
    )
