"""The kernels for CPUs compute what the plain ones do."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.distributed.mesh import replicate, to_devices
from src.models import blocks, layers, winograd
from src.models.kernels import BLOCKED, PLAIN, Kernels, choose_kernels
from src.training.state import abstract_state, create_state
from src.training.step import make_train_step
from tests.support import miniature

# kernel, side, input maps, output maps, stride, padding
CONVOLUTIONS = [
    (3, 8, 32, 8, 1, (1, 1)),
    (3, 13, 40, 16, 1, (1, 1)),
    (5, 14, 32, 8, 1, (2, 2)),
    (5, 27, 48, 8, 1, (2, 2)),
    (11, 51, 3, 8, 4, (0, 3)),
    (11, 51, 3, 8, 4, (2, 2)),
    (11, 52, 3, 8, 4, (0, 0)),
    (5, 15, 3, 8, 2, (1, 1)),
]


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 100_000)
    yield
    jax.clear_caches()


def relative_error(actual: jax.Array, expected: np.ndarray) -> float:
    difference = np.asarray(actual, np.float64) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))


def convolve_exactly(
    x: np.ndarray, kernel: np.ndarray, g: np.ndarray, stride: int, padding: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The convolution, and its gradients where `g` is that of the output, in float64."""
    before, after = padding
    x, kernel, g = (a.astype(np.float64) for a in (x, kernel, g))
    padded = np.pad(x, [(0, 0), padding, padding, (0, 0)])
    y, dx, dkernel = np.zeros_like(g), np.zeros_like(padded), np.zeros_like(kernel)
    last = (g.shape[1] - 1) * stride + 1
    for i, j in np.ndindex(*kernel.shape[:2]):
        window = np.s_[:, i : i + last : stride, j : j + last : stride]
        y += padded[window] @ kernel[i, j]
        dx[window] += g @ kernel[i, j].T
        dkernel[i, j] = np.einsum("nhwi,nhwo->io", padded[window], g)
    inside = slice(before, padded.shape[1] - after)
    return y, dx[:, inside, inside], dkernel


@pytest.mark.parametrize(("size", "side", "maps", "out", "stride", "padding"), CONVOLUTIONS)
def test_convolutions_and_their_gradients_are_accurate(size, side, maps, out, stride, padding):
    random = np.random.default_rng(0)
    x = random.standard_normal((6, side, side, maps), np.float32)
    kernel = random.standard_normal((size, size, maps, out), np.float32)
    side = (side + sum(padding) - size) // stride + 1
    g = random.standard_normal((6, side, side, out), np.float32)

    @jax.jit
    def convolve(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
        y, gradients = jax.vjp(lambda x, k: BLOCKED.convolve(x, k, stride, padding), x, kernel)
        return y, *gradients(g)

    expected = convolve_exactly(x, kernel, g, stride, padding)
    limit = 4e-6 if size == 5 and stride == 1 else 2e-6
    for actual, exact in zip(convolve(x, kernel), expected, strict=True):
        assert relative_error(actual, exact) < limit


def test_operations_in_blocks_and_their_gradients_are_equal() -> None:
    def operations(x: jax.Array) -> jax.Array:
        x = layers.response_norm(jax.nn.relu(x), (1, 1, 1, 5), 2.0, 1e-4, 0.75)
        return layers.max_pool(x, 3, 2)

    x = np.random.default_rng(0).standard_normal((6, 27, 27, 16), np.float32)
    g = np.random.default_rng(1).standard_normal((6, 13, 13, 16), np.float32)

    def compute(kernels: Kernels) -> tuple[jax.Array, jax.Array]:
        y, gradient = jax.vjp(lambda x: kernels.per_image(operations, x), x)
        return y, *gradient(g)

    jitted = jax.jit(compute, static_argnums=0)
    for blocked, plain in zip(jitted(BLOCKED), jitted(PLAIN), strict=True):
        np.testing.assert_allclose(blocked, plain, rtol=1e-5, atol=1e-6)
        assert relative_error(blocked, plain) < 2e-6


@pytest.mark.parametrize(
    ("size", "side", "maps", "padding", "dtype"),
    [
        (3, 6, 32, (1, 1), jnp.float32),  # small maps
        (3, 13, 16, (1, 1), jnp.float32),  # few maps
        (3, 13, 32, (0, 0), jnp.float32),
        (7, 13, 32, (3, 3), jnp.float32),
        (3, 13, 32, (1, 1), jnp.bfloat16),
    ],
)
def test_other_convolutions_are_the_plain_ones(size, side, maps, padding, dtype) -> None:
    arguments = jnp.ones((4, side, side, maps), dtype), jnp.ones((size, size, maps, 8), dtype)
    programs = [
        jax.make_jaxpr(lambda x, k, f=f: f(x, k, 1, padding))(*arguments)
        for f in (BLOCKED.convolve, PLAIN.convolve)
    ]
    assert str(programs[0]) == str(programs[1])


def train(config: ConfigDict, shape: tuple[int, int]) -> tuple[list[dict[str, float]], dict]:
    """Metrics of ten steps, and the last parameters."""
    mesh = miniature.mesh(*shape)
    state = create_state(config, miniature.NUM_CLASSES, mesh)
    step = make_train_step(config, miniature.NUM_CLASSES, mesh)
    statistics, metrics = replicate(mesh, miniature.statistics()), []
    for number in range(10):
        batch = to_devices(mesh, miniature.batch(config, number), config.batch_size)
        state, values = step(state, batch, statistics, np.float32(0.01))
        metrics.append({name: float(value) for name, value in jax.device_get(values).items()})
    return metrics, jax.tree.map(np.asarray, state.params)


@pytest.mark.slow
def test_training_takes_the_same_steps_on_any_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "MIN_SIDE", 3)
    config = miniature.config()
    for layer in ("conv1", "conv2"):  # enough maps for Winograd's convolution
        config.model.convs[layer].maps = 64
    config.cpu_kernels = "plain"
    expected, expected_params = train(config, (1, 1))
    config.cpu_kernels = "blocked"
    for shape in [(1, 1), (1, 2), (2, 1), (2, 2)]:
        metrics, params = train(config, shape)
        for actual, values in zip(metrics, expected, strict=True):
            assert actual == pytest.approx(values, rel=1e-4)
        jax.tree.map(
            lambda actual, plain: np.testing.assert_allclose(actual, plain, rtol=1e-3, atol=1e-5),
            params,
            expected_params,
        )


def test_any_type_of_sums_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "MIN_SIDE", 3)
    config = miniature.config()
    config.reduce_dtype = "bfloat16"  # float32 activations have float32 gradients all the same
    config.model.convs.conv1.maps = config.model.convs.conv2.maps = 64
    mesh = miniature.mesh(2, 2)
    state = abstract_state(config, miniature.NUM_CLASSES, mesh)
    batch = to_devices(mesh, miniature.batch(config), config.batch_size)
    step = make_train_step(config, miniature.NUM_CLASSES, mesh)
    step.lower(state, batch, replicate(mesh, miniature.statistics()), np.float32(0.01))


def test_only_cpus_have_other_kernels() -> None:
    assert choose_kernels("cpu", "blocked") is BLOCKED
    assert choose_kernels("cpu", "plain") is PLAIN
    assert choose_kernels("gpu", "blocked") is PLAIN
