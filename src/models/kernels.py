"""How a platform computes convolutions, and the operations that follow them."""

import dataclasses
from collections.abc import Callable

import jax

from . import blocks, layers, winograd

Function = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Kernels:
    """Two ways to compute; `layers` defines what."""

    convolve: Callable[[jax.Array, jax.Array, int, tuple[int, int]], jax.Array]
    per_image: Callable[[Function, jax.Array], jax.Array]  # (function, x) → function(x)


PLAIN = Kernels(layers.convolve, lambda function, x: function(x))
BLOCKED = Kernels(winograd.convolve, blocks.per_image)
CPU_KERNELS = {"blocked": BLOCKED, "plain": PLAIN}


def choose_kernels(platform: str, cpu_kernels: str) -> Kernels:
    """The kernels of a platform, such as "cpu" or "gpu"; only CPUs use those of `cpu_kernels`."""
    return CPU_KERNELS[cpu_kernels] if platform == "cpu" else PLAIN
