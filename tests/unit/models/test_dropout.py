"""Dropout: which units it zeroes, and where the others are scaled."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from src.distributed.mesh import BATCH, DATA_AXIS
from src.models import layers
from src.models.factory import rescale
from src.models.presets import PAPER
from tests.support import miniature


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_dropout_zeroes_units_at_its_rate_and_keeps_the_others(rate):
    (x,) = layers.dropout([jnp.full((64, 1000), 3.0)], rate, keys(64), layer=0, towers=1)
    zeros = np.asarray(x) == 0
    assert zeros.mean() == pytest.approx(rate, abs=0.01)
    np.testing.assert_array_equal(x[~zeros], 3)


@functools.partial(jax.jit, static_argnames=("count", "towers", "layer"))
def masks(*, count: int = 4, towers: int = 2, layer: int = 0, seed: int = 0) -> jax.Array:
    ones = [jnp.ones((count, 256))] * towers
    return jnp.stack(layers.dropout(ones, 0.5, keys(count, seed), layer, towers)) != 0


def assert_unrelated(a: jax.Array, b: jax.Array) -> None:
    assert (a == b).mean() == pytest.approx(0.5, abs=0.1)


def test_dropout_masks_differ_between_examples_towers_layers_and_keys():
    mask = masks()
    assert_unrelated(mask[:, 0], mask[:, 1])
    assert_unrelated(mask[0], mask[1])
    assert_unrelated(mask, masks(layer=1))
    assert_unrelated(mask, masks(seed=1))
    assert_unrelated(masks(layer=1)[0], masks(layer=0)[1])
    np.testing.assert_array_equal(mask, masks())


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2, 4)])
def test_dropout_masks_are_the_same_on_any_mesh(shape):
    towers, count = 4, 4

    def dropped(x: jax.Array, keys: jax.Array) -> jax.Array:
        return jnp.stack(layers.dropout(list(x), 0.5, keys, 0, towers))

    by_tower_and_example = jax.P(layers.TOWER_AXIS, DATA_AXIS)
    on_mesh = jax.shard_map(
        dropped,
        mesh=miniature.mesh(*shape),
        in_specs=(by_tower_and_example, BATCH),
        out_specs=by_tower_and_example,
    )
    x = jnp.ones((towers, count, 256))
    expected = masks(count=count, towers=towers)
    np.testing.assert_array_equal(jax.jit(on_mesh)(x, keys(count)) != 0, expected)


CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def test_dropout_zeroes_different_units_in_each_hidden_dense_layer():
    # A tanh is zero only where it was dropped.
    architecture = miniature.shrunk(
        PAPER,
        activation="tanh",
        dense={
            name: replace(spec, units=0 if name == "fc8" else 512)
            for name, spec in PAPER.dense.items()
        },
    )
    model = miniature.network(architecture)
    images, keys = miniature.images_for(architecture), jax.random.split(jax.random.key(0), 2)
    dropped, plain = (
        miniature.activations(model, images, keys),
        miniature.activations(model, images, None),
    )
    for name in CONVS:
        np.testing.assert_array_equal(dropped[name], plain[name])
    fc6, fc7 = (np.concatenate(dropped[name], axis=-1) == 0 for name in ("fc6", "fc7"))
    assert fc6.mean() == pytest.approx(0.5, abs=0.1)
    assert fc7.mean() == pytest.approx(0.5, abs=0.1)
    assert (fc6 == fc7).mean() == pytest.approx(0.5, abs=0.1)
    assert np.all(dropped["fc8"])
    assert not np.allclose(dropped["fc8"], plain["fc8"])


@pytest.mark.parametrize(
    ("scaling", "training", "test"), [("test", 1, 0.75), ("training", 4 / 3, 1)]
)
def test_dropout_scales_units_in_training_or_at_test(
    scaling: str, training: float, test: float
) -> None:
    """Section 4.2 multiplies by 1 − dropout at test; the later form divides by it in training."""
    plain = miniature.shrunk(PAPER, dropout=0.0)
    network = miniature.network(replace(plain, dropout=0.25, dropout_scaling=scaling))
    images, keys = miniature.images_for(plain), jax.random.split(jax.random.key(0), 2)
    (outputs, *_), (without_dropout, *_), (dropped, *_) = (
        miniature.activations(miniature.network(plain), images, None)["fc6"],
        miniature.activations(network, images, None)["fc6"],
        miniature.activations(network, images, keys)["fc6"],
    )
    np.testing.assert_array_equal(without_dropout, np.float32(test) * outputs)
    kept = dropped != 0
    assert kept.any()
    np.testing.assert_allclose(dropped[kept], training * outputs[kept], rtol=1e-6)


@pytest.mark.parametrize(("dropout", "scaling"), [(0.5, "training"), (0.25, "test"), (0.5, "test")])
def test_rescaled_parameters_compute_the_same_with_another_dropout(
    dropout: float, scaling: str
) -> None:
    source = miniature.shrunk(PAPER)
    target = replace(source, dropout=dropout, dropout_scaling=scaling)
    model, other = miniature.network(source), miniature.network(target)
    params = rescale(nnx.to_pure_dict(nnx.state(model)), source, target)
    nnx.update(other, params)
    images = miniature.images_for(source)
    np.testing.assert_allclose(model(images), other(images), rtol=1e-5)


def test_dropout_of_zero_changes_nothing():
    model = miniature.network(miniature.shrunk(PAPER, dropout=0.0))
    images, keys = miniature.images_for(model.architecture), jax.random.split(jax.random.key(0), 2)
    np.testing.assert_array_equal(
        miniature.logits(model, images, keys), miniature.logits(model, images, None)
    )
