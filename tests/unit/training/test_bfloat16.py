"""Training with bfloat16 activations: sums stay accurate, on any mesh."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from src.distributed.mesh import replicate, to_devices
from src.models import layers
from src.training.state import TrainState, create_state
from src.training.step import make_train_step
from tests.support import miniature

MESHES = [(1, 1), (2, 1), (2, 2), (4, 2)]


def recipe(dtype: str, reduce_dtype: str = "float32") -> ConfigDict:
    """A smooth network: rounding decides between equal maxima, and on which side of 0 a unit is."""
    config = miniature.config(dropout=0.0, activation="tanh")
    config.model.pools.pool.kind = "average"
    config.dtype, config.reduce_dtype = dtype, reduce_dtype
    config.augment.color = "none"
    return config


def arguments(config: ConfigDict, shape: tuple[int, int]) -> tuple:
    mesh = miniature.mesh(*shape)
    state = create_state(config, miniature.NUM_CLASSES, mesh)
    batch = to_devices(mesh, miniature.batch(config), config.batch_size)
    return mesh, (state, batch, replicate(mesh, miniature.statistics()), np.float32(0.01))


def step(config: ConfigDict, shape: tuple[int, int]) -> TrainState:
    mesh, inputs = arguments(config, shape)
    state, _ = make_train_step(config, miniature.NUM_CLASSES, mesh)(*inputs)
    return jax.tree.map(np.asarray, state)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_bias_gradient_counts_every_position(kind: str) -> None:
    options = {"init": nnx.initializers.zeros, "bias": 0.0, "rngs": nnx.Rngs(0)}
    if kind == "conv":
        layer = layers.Conv((1, 1, 1, 3, 2), stride=1, padding=(0, 0), **options)
        x = jnp.ones((128, 55, 55, 3), jnp.bfloat16)
    else:
        layer = layers.Dense((1, 3, 2), **options)
        x = jnp.ones((128 * 55 * 55, 3), jnp.bfloat16)

    def total(layer: nnx.Module) -> jax.Array:
        return layer([x])[0].astype(jnp.float32).sum()

    np.testing.assert_array_equal(nnx.grad(total)(layer).bias[...], 387_200)


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_gradients_are_those_of_float32(shape: tuple[int, int]) -> None:
    exact, rounded = step(recipe("float32"), (1, 1)), step(recipe("bfloat16"), shape)
    for (path, expected), actual in zip(
        jax.tree.leaves_with_path(exact.velocity), jax.tree.leaves(rounded.velocity), strict=True
    ):
        error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
        assert error < 0.03, path


@pytest.mark.parametrize(("reduce_dtype", "kernels"), [("float32", 0), ("bfloat16", 8)])
def test_gradients_are_added_up_in_the_chosen_type(reduce_dtype: str, kernels: int) -> None:
    mesh, inputs = arguments(recipe("bfloat16", reduce_dtype), (2, 2))
    program = make_train_step(recipe("bfloat16", reduce_dtype), miniature.NUM_CLASSES, mesh)
    results = re.findall(
        r"stablehlo\.all_reduce.*?\}\) : \(.*?\) -> tensor<(?:\d+x)*(f32|bf16)>",
        program.lower(*inputs).as_text(),
        re.DOTALL,
    )
    assert results.count("bf16") == kernels
    assert results.count("f32") >= 16 - kernels  # the biases' gradients are, in any case
