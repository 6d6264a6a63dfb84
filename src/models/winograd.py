"""Convolutions for CPUs, with fewer products and in blocks of images that stay in the caches.

Winograd's convolution (Lavin and Gray 2015) computes m × m outputs of an r × r kernel from a tile
of t × t inputs, t = m + r − 1, with t² products instead of m² · r². Its three linear maps and their
transposes also give the gradients, with as few products.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import layers
from .blocks import block_size, join_blocks, split_blocks

OUTPUTS = 3  # m: more outputs a tile need fewer products, but round worse
# Of Toom and Cook's method, which needs t − 1. Of many that were tried, these round best.
POINTS = (0, 0.5, -1, 2, 1, -1.5)
MIN_MAPS = 32  # with fewer input maps, the transformations cost more than the products they save
MIN_SIDE = 8  # on smaller maps, too much of the tiles lies outside


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """Computes `layers.convolve`, to rounding: in float32, faster where an algorithm here fits."""
    plain = functools.partial(layers.convolve, stride=stride, padding=padding)
    if x.dtype == jnp.float32 and _winograd_fits(x, kernel, stride, padding):
        return _with_gradient(_winograd, _winograd_gradient)(x, kernel)
    if x.dtype == jnp.float32 and stride > 1 and x.shape[-1] == 3:
        gradient = functools.partial(_row_gradient, plain, stride, padding)
        return _with_gradient(plain, gradient)(x, kernel)
    return plain(x, kernel)


def _winograd_fits(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> bool:
    _, height, width, maps = x.shape
    size = len(kernel)
    same_size = stride == 1 and size in (3, 5) and padding == (size // 2,) * 2
    return same_size and height == width >= MIN_SIDE and maps >= MIN_MAPS


def _with_gradient(
    forward: Callable[..., jax.Array], backward: Callable[..., tuple[jax.Array, jax.Array]]
) -> Callable[..., jax.Array]:
    """`forward` of (x, kernel), whose gradient is `backward` of (x, kernel, gradient)."""
    function = jax.custom_vjp(forward)
    function.defvjp(
        lambda x, kernel: (forward(x, kernel), (x, kernel)),
        lambda residuals, g: backward(*residuals, g),
    )
    return function


def _winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(N, side, side, in) and (r, r, in, out) → (N, side, side, out)."""
    form, size = Form(len(kernel)), _winograd_block(x, kernel)
    transformed = form.transform_kernel(kernel)

    def block(x: jax.Array) -> jax.Array:
        return form.outputs(_multiply(form.tiles(x), transformed, 2, 1), size, x.shape[1])

    return join_blocks(lax.map(block, split_blocks(x, size)))


def _winograd_gradient(
    x: jax.Array, kernel: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    form, size = Form(len(kernel)), _winograd_block(x, kernel)
    transformed = form.transform_kernel(kernel)

    def block(
        total: jax.Array, x_and_g: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        x, g = x_and_g
        gradient = form.outputs_transposed(g)
        total = total + _multiply(form.tiles(x), gradient, 1, 1)
        (dx,) = jax.linear_transpose(form.tiles, x)(_multiply(gradient, transformed, 2, 2))
        return total, dx

    zeros = jnp.zeros_like(g, shape=transformed.shape)
    total, dx = lax.scan(block, zeros, (split_blocks(x, size), split_blocks(g, size)))
    (dkernel,) = jax.linear_transpose(form.transform_kernel, kernel)(total)
    return join_blocks(dx), dkernel


def _winograd_block(x: jax.Array, kernel: jax.Array) -> int:
    form, (*_, maps_in, maps_out) = Form(len(kernel)), kernel.shape
    return block_size(len(x), form.t**2 * form.tile_count(x.shape[1]) ** 2 * (maps_in + maps_out))


def _multiply(a: jax.Array, b: jax.Array, over_a: int, over_b: int) -> jax.Array:
    return lax.dot_general(a, b, (((over_a,), (over_b,)), ((0,), (0,))))


class Form:
    """The linear maps of Winograd's convolution with an r × r kernel.

    Arrays with an entry for each of the t × t products are (t · t, N · tiles · tiles, maps).
    """

    def __init__(self, r: int):
        self.r, self.t = r, OUTPUTS + r - 1
        self._outputs, self._kernel, self._inputs = _matrices(OUTPUTS, r)

    def tile_count(self, side: int) -> int:
        """The number of tiles that cover a side of the output."""
        return -(-side // OUTPUTS)

    def transform_kernel(self, kernel: jax.Array) -> jax.Array:
        """(r, r, in, out) → (t · t, in, out)."""
        matrix = self._kernel.astype(np.float32)
        both = jnp.einsum("ai,bj,jixy->abxy", matrix, matrix, kernel, precision="highest")
        return both.reshape(self.t**2, *kernel.shape[2:])

    def tiles(self, x: jax.Array) -> jax.Array:
        """(N, side, side, maps) → (t · t, N · tiles², maps)."""
        return self._spread(x, self._inputs, self.r // 2)

    def outputs_transposed(self, g: jax.Array) -> jax.Array:
        """(N, side, side, maps) → (t · t, N · tiles², maps)."""
        return self._spread(g, self._outputs.T, 0)

    def outputs(self, products: jax.Array, n: int, side: int) -> jax.Array:
        """(t · t, N · tiles², maps) → (N, side, side, maps)."""
        tiles, maps = self.tile_count(side), products.shape[-1]
        products = products.reshape(self.t, self.t, n, tiles, tiles, maps)
        rows = jnp.stack(_combine(self._outputs, [products[:, i] for i in range(self.t)]), 3)
        x = jnp.stack(_combine(self._outputs, list(rows)), 4)
        return x.reshape(n, tiles * OUTPUTS, tiles * OUTPUTS, maps)[:, :side, :side]

    def _spread(self, x: jax.Array, matrix: np.ndarray, before: int) -> jax.Array:
        """Multiplies tiles of x, which begin every m positions, by `matrix` along both sides."""
        n, side, _, maps = x.shape
        count, width = self.tile_count(side), matrix.shape[1]
        border = (before, (count - 1) * OUTPUTS + width - side - before)
        x = jnp.pad(x, [(0, 0), border, border, (0, 0)])
        rows = jnp.stack(_combine(matrix, layers.strided(x, 1, width, OUTPUTS)))
        both = jnp.stack(_combine(matrix, layers.strided(rows, 3, width, OUTPUTS)))
        return both.reshape(self.t**2, n * count**2, maps)


@functools.cache
def _matrices(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A' (m, t), G (t, r) and B' (t, t), such that A' [(G g) ⊙ (B' d)] correlates d with g.

    From the interpolation of Toom and Cook at t − 1 points and infinity.
    """
    points = np.array(POINTS[: m + r - 2])
    others = [np.delete(points, i) for i in range(len(points))]

    def powers(count: int) -> np.ndarray:
        return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1]])

    inputs = [np.append(np.poly(roots)[::-1], 0) for roots in others] + [np.poly(points)[::-1]]
    scale = [np.prod(point - roots) for point, roots in zip(points, others, strict=True)] + [1]
    return powers(m).T, powers(r) / np.array(scale)[:, None], np.array(inputs)


def _combine(matrix: np.ndarray, parts: list[jax.Array]) -> list[jax.Array]:
    """The product of a constant matrix and a vector of arrays, without its zeros and ones."""

    def sum_of(row: np.ndarray) -> jax.Array:
        pairs = zip(row, parts, strict=True)
        terms = [part if c == 1 else part * np.float32(c) for c, part in pairs if c]
        return functools.reduce(jnp.add, terms)

    return [sum_of(row) for row in matrix]


def _row_gradient(
    plain: Callable[..., jax.Array],
    stride: int,
    padding: tuple[int, int],
    x: jax.Array,
    kernel: jax.Array,
    g: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gradient where images enter: for the kernel, a product for each of its rows.

    `stride` columns count as one with that many times the maps: then what a row of the kernel reads
    is a few slices.
    """
    rows, out, maps = len(kernel), g.shape[1], stride * x.shape[-1]
    columns = -(-rows // stride)  # that a row of the kernel reads
    side = (out + columns - 1) * stride
    border = (padding[0], max(0, side - x.shape[1] - padding[0]))
    (dx,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(g)
    x = jnp.pad(x, [(0, 0), border, border, (0, 0)])[:, :side, :side]
    size = block_size(len(x), out**2 * (columns * maps + g.shape[-1]))

    def block(total: jax.Array, x_and_g: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        x, g = x_and_g
        x = x.reshape(size, side, side // stride, maps)
        g = g.reshape(-1, g.shape[-1])
        read = [
            jnp.concatenate(layers.strided(row, 2, columns, 1), -1).reshape(-1, columns * maps)
            for row in layers.strided(x[:, : (out - 1) * stride + rows], 1, rows, stride)
        ]
        return total + jnp.stack([row.T @ g for row in read]), None

    zeros = jnp.zeros_like(g, shape=(rows, columns * maps, g.shape[-1]))
    total, _ = lax.scan(block, zeros, (split_blocks(x, size), split_blocks(g, size)))
    return dx, total.reshape(rows, columns * stride, -1, g.shape[-1])[:, :rows]
