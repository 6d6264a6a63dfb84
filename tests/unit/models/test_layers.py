import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from src.models import layers
from src.models.architecture import NormSpec
from src.models.presets import CHM145, PAPER
from tests.support import miniature

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


response_norm = jax.jit(layers.response_norm, static_argnums=(1, 2, 3, 4))
max_pool = jax.jit(layers.max_pool, static_argnums=(1, 2))
average_pool = jax.jit(layers.average_pool, static_argnums=(1, 2))


def lrn(x: jax.typing.ArrayLike, norm: NormSpec) -> jax.Array:
    return response_norm(x, (1, 1, 1, norm.n), norm.k, norm.alpha, norm.beta)


@pytest.mark.parametrize(
    ("norm", "value", "map_index", "expected"),
    [
        (PAPER.norms["lrn"], 1, 24, 0.594492),
        (CHM145.norms["lrn"], 1, 24, 0.594581),
        (PAPER.norms["lrn"], 100, 24, 23.2368),
        (CHM145.norms["lrn"], 100, 24, 43.8691),
        (PAPER.norms["lrn"], 100, 0, 29.9070),
        (CHM145.norms["lrn"], 100, 0, 48.8394),
        (PAPER.norms["lrn"], 100, 47, 29.9070),
    ],
)
def test_response_norm_of_48_equal_maps_has_the_published_value(norm, value, map_index, expected):
    normalized = lrn(np.full((1, 1, 1, 48), value, np.float32), norm)
    np.testing.assert_allclose(normalized[0, 0, 0, map_index], expected, rtol=2e-6)


def naive_norm(x: np.ndarray, window, k, alpha, beta) -> np.ndarray:
    x = x.astype(np.float64)
    out = np.empty_like(x)
    for index in np.ndindex(x.shape):
        neighborhood = tuple(
            slice(max(0, i - n // 2), i + n // 2 + 1) for i, n in zip(index, window, strict=True)
        )
        out[index] = x[index] / (k + alpha * (x[neighborhood] ** 2).sum()) ** beta
    return out


NORMS = [
    ((1, 1, 1, 5), 2.0, 0.1, 0.75),
    ((1, 1, 1, 3), 1.0, 0.3, 0.5),
    ((1, 5, 5, 1), 1.0, 0.04, 0.75),
    ((1, 3, 3, 1), 2.0, 0.2, 1.25),
]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 7), (1, 7, 2, 2), (1, 1, 1, 1)])
def test_response_norm_equals_a_loop(norm, shape):
    x = 3 * normal(*shape)
    np.testing.assert_allclose(response_norm(x, *norm), naive_norm(x, *norm), rtol=1e-5)


def differentiable_norm(x: jax.Array, window, k, alpha, beta) -> jax.Array:
    pad = [(n // 2, n // 2) for n in window]
    squares = jnp.pad(x * x, pad)
    total = sum(
        squares[tuple(slice(o, o + s) for o, s in zip(offset, x.shape, strict=True))]
        for offset in np.ndindex(*window)
    )
    return x / (k + alpha * total) ** beta


@pytest.mark.parametrize("norm", NORMS)
def test_gradient_of_response_norm_equals_that_of_its_formula(norm):
    x, g = 3 * normal(2, 5, 4, 7), normal(2, 5, 4, 7)

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(function: Callable, x: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: function(x, *norm), x)[1](g)[0]

    expected = gradient(differentiable_norm, x, g)
    np.testing.assert_allclose(gradient(response_norm, x, g), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_gradient_of_response_norm_equals_the_numerical_gradient(norm):
    x = normal(1, 3, 3, 6)
    check_grads(lambda x: response_norm(x, *norm), (x,), order=1, modes="rev", rtol=0.01)


def test_response_norm_of_bfloat16_is_computed_in_float32():
    x = jnp.asarray(100 * normal(1, 2, 2, 48), jnp.bfloat16)
    normalized = lrn(x, PAPER.norms["lrn"])
    assert normalized.dtype == jnp.bfloat16
    wide = lrn(x.astype(jnp.float32), PAPER.norms["lrn"]).astype(jnp.bfloat16)
    np.testing.assert_array_equal(normalized, wide)


def naive_windows(x: np.ndarray, window: int, stride: int) -> Iterator[tuple]:
    """Each output's position and its window of x, cut off at the borders."""
    images, height, width, maps = x.shape
    for i in range(math.ceil((height - window) / stride) + 1):
        for j in range(math.ceil((width - window) / stride) + 1):
            for n, c in np.ndindex(images, maps):
                rows, columns = (slice(k * stride, k * stride + window) for k in (i, j))
                yield (n, i, j, c), x[n, rows, columns, c]


def naive_pool(x: np.ndarray, window: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """The maxima, and how often each position of x is one."""
    windows = dict(naive_windows(x, window, stride))
    out = np.empty(np.max(list(windows), axis=0) + 1, x.dtype)
    chosen = np.zeros_like(x)
    for (n, i, j, c), part in windows.items():
        di, dj = np.unravel_index(part.argmax(), part.shape)
        out[n, i, j, c] = part[di, dj]
        chosen[n, i * stride + di, j * stride + dj, c] += 1
    return out, chosen


SHAPES_AND_POOLS = pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((2, 7, 7, 2), 3, 2),
        ((1, 8, 9, 3), 3, 2),  # its last rows' windows are cut off
        ((2, 7, 6, 2), 2, 2),
        ((1, 5, 6, 1), 3, 1),
        ((1, 8, 7, 2), 3, 3),
        ((1, 2, 5, 1), 3, 2),
    ],
)


@SHAPES_AND_POOLS
def test_average_pool_equals_a_loop(window, stride, shape):
    x = normal(*shape)
    pooled = average_pool(x, window, stride)
    windows = dict(naive_windows(x, window, stride))
    assert len(windows) == pooled.size
    for position, part in windows.items():
        np.testing.assert_allclose(pooled[position], part.mean(), atol=1e-6)


@SHAPES_AND_POOLS
def test_max_pool_and_its_gradient_equal_a_loop(window, stride, shape):
    x = RANDOM.permutation(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)
    expected, chosen = naive_pool(x, window, stride)
    np.testing.assert_array_equal(max_pool(x, window, stride), expected)
    gradient = jax.grad(lambda x: max_pool(x, window, stride).sum())(x)
    np.testing.assert_array_equal(gradient, chosen)


def test_max_pool_shares_the_gradient_among_equal_maxima():
    gradient = jax.grad(lambda x: max_pool(x, 3, 2).sum())(jnp.zeros((1, 7, 7, 1)))
    assert gradient.sum() == 3 * 3
    assert gradient.min() > 0


@pytest.mark.parametrize(("side", "pooled"), [(55, 27), (27, 13), (13, 6)])
def test_the_papers_pools_overlap(side, pooled):
    maps = jax.eval_shape(
        lambda x: layers.max_pool(x, PAPER.pools["pool"].window, PAPER.pools["pool"].stride),
        jax.ShapeDtypeStruct((1, side, side, 48), jnp.float32),
    )
    assert maps.shape == (1, pooled, pooled, 48)


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, (1, 1)), (2, 2, (0, 1))])
def test_local_convolution_equals_a_loop(size, stride, padding):
    side, in_features, out_features = 5, 3, 4
    out = (side + sum(padding) - size) // stride + 1
    kernels = normal(2, out, out, size, size, in_features, out_features)
    biases = normal(2, out, out, out_features)
    layer = layers.LocalConv(
        (2, out, out, size * size * in_features, out_features),
        stride=stride,
        padding=padding,
        init=nnx.initializers.zeros,
        bias=0.0,
        rngs=nnx.Rngs(0),
    )
    layer.kernel[...] = kernels.reshape(layer.kernel.shape)
    layer.bias[...] = biases
    xs = [normal(2, side, side, in_features) for _ in range(2)]
    for x, y, kernel, bias in zip(xs, layer(xs), kernels, biases, strict=True):
        padded = np.pad(x, [(0, 0), padding, padding, (0, 0)])
        assert y.shape == (2, out, out, out_features)
        for i, j in np.ndindex(out, out):
            top, left = i * stride, j * stride
            part = padded[:, top : top + size, left : left + size]
            expected = np.einsum("nhwc,hwco->no", part, kernel[i, j]) + bias[i, j]
            np.testing.assert_allclose(y[:, i, j], expected, rtol=1e-4, atol=1e-4)


def conv1_of_one_map() -> layers.Conv:
    spec = PAPER.convs["conv1"]
    return layers.Conv(
        (1, spec.size, spec.size, 3, 1),
        stride=spec.stride,
        padding=spec.padding,
        init=nnx.initializers.normal(1),
        bias=0.0,
        rngs=nnx.Rngs(0),
    )


@pytest.mark.parametrize(("row", "first", "last"), [(0, 0, 10), (1, 4, 14), (54, 216, 223)])
def test_rows_and_columns_that_conv1_reads(row, first, last):
    conv = conv1_of_one_map()

    @jax.jit
    @jax.grad
    def gradient(x: jax.Array) -> jax.Array:
        (y,) = conv([x])
        assert y.shape == (1, 55, 55, 1)
        return y[0, row, row, 0]

    read = np.abs(gradient(jnp.zeros((1, 224, 224, 3)))[0]).max(axis=-1) > 0
    expected = np.zeros((224, 224), bool)
    expected[first : last + 1, first : last + 1] = True
    np.testing.assert_array_equal(read, expected)


def test_last_output_row_of_conv1_reads_three_rows_of_padding():
    graph, state = nnx.split(conv1_of_one_map())
    x = normal(1, 224, 224, 3)

    @jax.jit
    @jax.grad
    def gradients(state: nnx.State) -> jax.Array:
        (y,) = nnx.merge(graph, state)([x])
        return y[0, 54, 10, 0]

    gradient = gradients(state)["kernel"][...][0, ..., 0]
    np.testing.assert_array_equal(gradient[:8], x[0, 216:224, 40:51])
    np.testing.assert_array_equal(gradient[8:], 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 4)])
def test_exchange_gives_each_tower_the_maps_of_all_in_order(shape):
    towers = 4
    x = normal(towers, 2, 3, 3, 5)

    def exchanged(x: jax.Array) -> jax.Array:
        return jnp.stack(layers.exchange(list(x), towers))

    on_mesh = jax.shard_map(
        exchanged,
        mesh=miniature.mesh(*shape),
        in_specs=jax.P(layers.TOWER_AXIS),
        out_specs=jax.P(layers.TOWER_AXIS),
    )
    everything = np.concatenate(list(x), axis=-1)
    np.testing.assert_array_equal(on_mesh(x), np.stack([everything] * towers))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 4)])
def test_normalization_over_all_towers_does_not_depend_on_the_mesh(shape):
    towers = 4
    x = 30 * normal(towers, 2, 3, 3, 4)

    def normalized(x: jax.Array) -> jax.Array:
        all_maps, *_ = layers.exchange(list(x), towers)
        all_maps = layers.response_norm(all_maps, (1, 1, 1, 5), 1.0, 1e-3, 0.75)
        return jnp.stack(layers.own_maps(all_maps, len(x), towers))

    by_tower = jax.P(layers.TOWER_AXIS)
    on_mesh = jax.shard_map(
        normalized, mesh=miniature.mesh(*shape), in_specs=by_tower, out_specs=by_tower
    )
    together = np.concatenate(list(x), axis=-1)
    alone = functools.partial(
        layers.response_norm, window=(1, 1, 1, 5), k=1.0, alpha=1e-3, beta=0.75
    )
    value, pull = jax.vjp(alone, together)
    weights = normal(*together.shape)
    np.testing.assert_allclose(
        np.concatenate(list(on_mesh(x)), axis=-1), value, rtol=1e-5, atol=1e-5
    )
    _, pull_on_mesh = jax.vjp(jax.jit(on_mesh), x)
    (gradient,) = pull_on_mesh(jnp.stack(np.split(weights, towers, axis=-1)))
    np.testing.assert_allclose(
        np.concatenate(list(gradient), axis=-1), pull(weights)[0], rtol=1e-4, atol=1e-5
    )
