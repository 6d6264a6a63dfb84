"""Computing in blocks of a few images, whose temporary arrays stay in a CPU's caches."""

from collections.abc import Callable

import jax
from jax import lax

BLOCK_VALUES = 1_500_000  # of a block's temporary arrays: 6 MB in float32


def per_image(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """function(x), where the function treats each image alone.

    Units of dense layers and small arrays are one block. The gradient computes the function again.
    """
    size = block_size(len(x), 4 * x[0].size)
    if x.ndim == 2 or size == len(x):
        return function(x)

    @jax.custom_vjp
    def blockwise(x: jax.Array) -> jax.Array:
        return join_blocks(lax.map(function, split_blocks(x, size)))

    def backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
        def block(x_and_g: tuple[jax.Array, jax.Array]) -> jax.Array:
            x, g = x_and_g
            (dx,) = jax.vjp(function, x)[1](g)
            return dx

        return (join_blocks(lax.map(block, (split_blocks(x, size), split_blocks(g, size)))),)

    blockwise.defvjp(lambda x: (blockwise(x), x), backward)
    return blockwise(x)


def block_size(images: int, values_each: int) -> int:
    """The largest divisor of `images` such that a block has at most BLOCK_VALUES values, or 1."""
    most = max(1, BLOCK_VALUES // values_each)
    return max(size for size in range(1, min(most, images) + 1) if images % size == 0)


def split_blocks(x: jax.Array, size: int) -> jax.Array:
    """(N, …) → (blocks, size, …)."""
    return x.reshape(-1, size, *x.shape[1:])


def join_blocks(x: jax.Array) -> jax.Array:
    """(blocks, size, …) → (N, …)."""
    return x.reshape(-1, *x.shape[2:])
