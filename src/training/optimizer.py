"""Stochastic gradient descent with momentum, in the paper's form."""

import fnmatch
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict


def is_frozen(layer: str, patterns: str) -> bool:
    """Whether a layer's name matches one of some patterns, such as "conv*,fc6"."""
    return any(fnmatch.fnmatchcase(layer, pattern) for pattern in patterns.split(","))


def momentum_sgd(
    learning_rate: jax.typing.ArrayLike, section: ConfigDict
) -> optax.GradientTransformation:
    """v ← momentum·v − weight_decay·learning_rate·w − learning_rate·g; w ← w + v (section 5).

    The learning rate is inside the velocity, so that lowering it leaves the velocity as it was.
    `optax.sgd` multiplies the whole velocity by the learning rate.

    Args:
      learning_rate: ε of this step; the state does not depend on it.
      section: `config.optimizer`: `momentum` (0.9 in the paper); `weight_decay` (0.0005), and
        `weight_decays` of the layers that have their own, by name; `decay_biases`, whether it
        applies to biases too (not in the authors' code); `bias_lr_multiplier`, the learning rate of
        biases relative to that of weights (1 in the paper, 2 in the authors' code);
        `frozen_layers`, patterns of layers that stay as they are: see `is_frozen`.
    """

    def scale(path: tuple[Any, ...], gradient: jax.Array, w: jax.Array) -> jax.Array:
        layer, is_bias = path[0].key, path[-1].key == "bias"
        if is_frozen(layer, section.frozen_layers):
            return jnp.zeros_like(w)
        decay = section.weight_decays.get(layer, section.weight_decay)
        if is_bias and not section.decay_biases:
            decay = 0
        own_rate = jnp.multiply(learning_rate, section.bias_lr_multiplier if is_bias else 1)
        return -own_rate * (gradient + decay * w)

    return optax.chain(
        optax.stateless(functools.partial(jax.tree_util.tree_map_with_path, scale)),
        optax.trace(section.momentum),
    )
