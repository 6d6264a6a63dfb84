"""The operations of a network whose feature maps are split over towers.

A layer maps a list of activations to a list, with an entry for each tower that this device holds:
all towers on one device, one tower each where the mesh axis `model` has as many devices as there
are towers. The leading axis of a kernel is the tower, so its length tells how many a device holds.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

TOWER_AXIS = "model"  # the mesh axis that the towers are laid along

Convolve = Callable[[jax.Array, jax.Array, int, tuple[int, int]], jax.Array]
Combine = Callable[[jax.Array, jax.Array], jax.Array]
Towers = list[jax.Array]  # activations (N, H, W, maps) or (N, units), one array per local tower


def exchange(xs: Towers, towers: int) -> Towers:
    """Gives each tower the maps of all towers: the only communication of the forward pass.

    Its transpose, a reduce-scatter, is the only communication between towers of the backward pass.
    """
    x = jnp.concatenate(xs, axis=-1)
    if len(xs) < towers:
        x = lax.all_gather(x, TOWER_AXIS, axis=x.ndim - 1, tiled=True)
    return [x] * len(xs)


def own_maps(x: jax.Array, local: int, towers: int) -> Towers:
    """The local towers' parts of (N, H, W, maps of all towers)."""
    maps = x.shape[-1] // towers
    return [
        lax.dynamic_slice_in_dim(x, tower * maps, maps, axis=-1)
        for tower in tower_indices(local, towers)
    ]


def tower_indices(local: int, towers: int) -> list[jax.Array | int]:
    """Which towers this device holds."""
    first = lax.axis_index(TOWER_AXIS) * local if local < towers else 0
    return [first + i for i in range(local)]


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """The convolution of (N, H, W, in) with (kh, kw, in, out)."""
    if stride == 1 and x.shape[-1] == 3:
        # Four times as fast on CPUs with a fourth map of zeros.
        x = jnp.pad(x, [(0, 0), (0, 0), (0, 0), (0, 1)])
        kernel = jnp.pad(kernel, [(0, 0), (0, 0), (0, 1), (0, 0)])
    return lax.conv_general_dilated(
        x, kernel, (stride,) * 2, (padding,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Layer(nnx.Module):
    """A linear map and biases within each tower; `shape` is the kernel's: (towers, …, in, out)."""

    bias_axes: ClassVar[tuple[int, ...]] = (0, -1)  # which axes of the kernel the bias has

    def __init__(
        self, shape: tuple[int, ...], *, init: nnx.Initializer, bias: float, rngs: nnx.Rngs
    ):
        # The same numbers as drawn in this shape, which takes XLA several times as long to compile.
        self.kernel = nnx.Param(init(rngs.params(), (math.prod(shape),)).reshape(shape))
        bias_shape = [shape[axis] for axis in self.bias_axes]
        self.bias = nnx.Param(jnp.full(bias_shape, bias, jnp.float32))

    def __call__(self, xs: Towers) -> Towers:
        return [
            _add_bias(self._multiply(x, kernel.astype(x.dtype)), bias)
            for x, kernel, bias in zip(xs, self.kernel[...], self.bias[...], strict=True)
        ]

    def _multiply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        raise NotImplementedError


class Dense(Layer):
    """A product within each tower: kernel (towers, in, out), bias (towers, out)."""

    def _multiply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return x @ kernel


class Conv(Layer):
    """A convolution within each tower: kernel (towers, kh, kw, in, out), bias (towers, out)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        stride: int,
        padding: tuple[int, int],
        convolve: Convolve = convolve,
        **options: Any,
    ):
        super().__init__(shape, **options)
        self.stride = stride
        self.padding = padding
        self.convolve = convolve

    def _multiply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return self.convolve(x, kernel, self.stride, self.padding)


class LocalConv(Conv):
    """A convolution with its own kernel and biases at each position ("locally connected").

    Its kernel is (towers, H, W, kh · kw · in, out) and its bias (towers, H, W, out), where H and W
    are the height and width of its output.
    """

    bias_axes = (0, 1, 2, -1)

    def _multiply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        # The inputs of the kernel at each position: (N, H, W, kh · kw · in).
        size = math.isqrt(kernel.shape[-2] // x.shape[-1])
        x = jnp.pad(x, [(0, 0), self.padding, self.padding, (0, 0)])
        rows = strided(x, 1, size, self.stride)
        patches = [part for row in rows for part in strided(row, 2, size, self.stride)]
        return jnp.einsum("nhwi,hwio->nhwo", jnp.concatenate(patches, axis=-1), kernel)


def _add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    # In float32: the bias's gradient is a sum over all positions, and in bfloat16 a sum of ones
    # stops growing at 256.
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


def strided(x: jax.Array, axis: int, window: int, stride: int) -> list[jax.Array]:
    """For each offset in a window, the elements that all windows along an axis have there."""
    last = (x.shape[axis] - window) // stride * stride
    return [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(window)]


def max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    """Max pooling of (N, H, W, maps), overlapping where the stride is less than the window.

    As in cuda-convnet, no position is left out: the last window may reach beyond the border.

    The maxima of strided slices have a chain of selections as their gradient, many times faster
    than the scatter that the gradient of `reduce_window` is.
    """
    return _pool(x, window, stride, jnp.maximum, -jnp.inf)


def average_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    """Average pooling like `max_pool`, over the positions of a window within the borders."""
    counts = _pool(jnp.ones((1, *x.shape[1:3], 1), x.dtype), window, stride, jnp.add, 0)
    return _pool(x, window, stride, jnp.add, 0) / counts


def _pool(x: jax.Array, window: int, stride: int, combine: Combine, outside: float) -> jax.Array:
    for axis in (1, 2):
        missing = (window - x.shape[axis]) % stride
        padding = [(0, missing if i == axis else 0) for i in range(x.ndim)]
        x = jnp.pad(x, padding, constant_values=outside)
        x = functools.reduce(combine, strided(x, axis, window, stride))
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def response_norm(
    x: jax.Array, window: tuple[int, int, int, int], k: float, alpha: float, beta: float
) -> jax.Array:
    """x / (k + alpha · Σ x²)^beta, summed over an odd-sized window that is clipped at the borders.

    Over maps, window (1, 1, 1, n), this is the paper's section 3.3. Over positions, (1, n, n, 1),
    it is the same-map normalization of cuda-convnet. As in the paper, alpha multiplies the sum. The
    authors' code, Caffe and PyTorch divide alpha by the size of the window: callers do so for them.
    """
    wide = x.astype(jnp.float32)
    return (wide * _inverse_power(k + alpha * _window_sum(wide * wide, window), beta)).astype(
        x.dtype
    )


def _response_norm_forward(x, window, k, alpha, beta):  # type: ignore[no-untyped-def]
    return response_norm(x, window, k, alpha, beta), x


def _response_norm_backward(window, k, alpha, beta, x, g):  # type: ignore[no-untyped-def]
    # The denominators are computed again instead of kept. The window is symmetric: its sum is its
    # own transpose.
    wide, g = x.astype(jnp.float32), g.astype(jnp.float32)
    denominator = k + alpha * _window_sum(wide * wide, window)
    scale = _inverse_power(denominator, beta)
    spread = _window_sum(g * wide * scale / denominator, window)
    return ((g * scale - 2 * alpha * beta * wide * spread).astype(x.dtype),)


response_norm.defvjp(_response_norm_forward, _response_norm_backward)


def _window_sum(x: jax.Array, window: Sequence[int]) -> jax.Array:
    return lax.reduce_window(x, 0.0, lax.add, window, (1,) * x.ndim, "SAME")


def _inverse_power(d: jax.Array, beta: float) -> jax.Array:
    if beta == 0.75:  # two roots cost half of what a logarithm and an exponential do
        root = lax.rsqrt(d)
        return root * jnp.sqrt(root)
    return d**-beta


def dropout(xs: Towers, rate: float, keys: jax.Array, layer: int, towers: int) -> Towers:
    """Zeroes units (N, units) with probability `rate` (section 4.2); leaves the others as they are.

    The caller scales them: `AlexNet` does, in training or at test. A mask depends on the example's
    typed key (N,), the layer and the tower, and on no device.
    """

    def mask(key: jax.Array, tower: jax.Array | int, units: int) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(key, layer), tower)
        return jax.random.bernoulli(key, 1 - rate, (units,))

    masks = jax.vmap(mask, in_axes=(0, None, None))
    return [
        jnp.where(masks(keys, tower, x.shape[-1]), x, 0)
        for x, tower in zip(xs, tower_indices(len(xs), towers), strict=True)
    ]
