"""Stochastic gradient descent with momentum, in the paper's form, and LARS for large batches."""

import fnmatch
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

Tree = Any
Path = tuple[Any, ...]


def is_frozen(layer: str, patterns: str) -> bool:
    """Whether a layer's name matches one of some patterns, such as "conv*,fc6"."""
    return any(fnmatch.fnmatchcase(layer, pattern) for pattern in patterns.split(","))


def _unchanged(gradients: Tree, params: Tree) -> Tree:  # noqa: ARG001
    return gradients


def _as_long_as_kernels(gradients: Tree, params: Tree) -> Tree:
    """Scales the gradient of each kernel to the kernel's norm, over all towers and devices.

    Where one of the norms is 0, and for biases, the gradient stays as it is.
    """
    scaled, _ = optax.scale_by_trust_ratio().update(gradients, optax.EmptyState(), params)
    return jax.tree_util.tree_map_with_path(
        lambda path, gradient, long: gradient if _is_bias(path) else long, gradients, scaled
    )


# What happens to the gradients, which contain weight decay, before the learning rate.
OPTIMIZERS: dict[str, Callable[[Tree, Tree], Tree]] = {
    "momentum": _unchanged,
    "lars": _as_long_as_kernels,
}


def momentum_sgd(
    learning_rate: jax.typing.ArrayLike, section: ConfigDict
) -> optax.GradientTransformation:
    """v ← momentum·v − learning_rate·s·(g + weight_decay·w); w ← w + v (section 5, where s is 1).

    The learning rate is inside the velocity, so that lowering it leaves the velocity as it was.
    `optax.sgd` multiplies the whole velocity by the learning rate.

    With LARS (You, Gitman and Ginsburg 2017) s = ‖w‖ / ‖g + weight_decay·w‖ for each kernel w, so
    that a learning rate of 0.01 changes each kernel by 1% of its length, and 1 for biases. Their
    trust coefficient is here part of the learning rate: their 0.001 and rate of 10 are 0.01. Like
    optax, and unlike their ‖g‖ + weight_decay·‖w‖, the norm is that of the sum.

    Args:
      learning_rate: ε of this step; the state does not depend on it.
      section: `config.optimizer`: `name`, "momentum" or "lars"; `momentum` (0.9 in the paper);
        `weight_decay` (0.0005), and `weight_decays` of the layers that have their own, by name;
        `decay_biases`, whether it applies to biases too (not in the authors' code);
        `bias_lr_multiplier`, the learning rate of biases relative to that of weights (1 in the
        paper, 2 in the authors' code); `frozen_layers`, patterns of layers that stay as they are:
        see `is_frozen`.
    """

    def decay(path: Path, gradient: jax.Array, w: jax.Array) -> jax.Array:
        layer = path[0].key
        if is_frozen(layer, section.frozen_layers):
            return jnp.zeros_like(w)
        decay = section.weight_decays.get(layer, section.weight_decay)
        if _is_bias(path) and not section.decay_biases:
            decay = 0
        return gradient + decay * w

    def scale(path: Path, gradient: jax.Array) -> jax.Array:
        multiplier = section.bias_lr_multiplier if _is_bias(path) else 1
        return -jnp.multiply(learning_rate, multiplier) * gradient

    def update(gradients: Tree, params: Tree) -> Tree:
        decayed = jax.tree_util.tree_map_with_path(decay, gradients, params)
        adapted = OPTIMIZERS[section.name](decayed, params)
        return jax.tree_util.tree_map_with_path(scale, adapted)

    return optax.chain(optax.stateless(update), optax.trace(section.momentum))


def _is_bias(path: Path) -> bool:
    return path[-1].key == "bias"
