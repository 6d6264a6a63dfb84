"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012), its feature maps split over towers."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from . import layers
from .architecture import Architecture, ConvSpec
from .layers import Towers
from .presets import PAPER

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}
# From a layer's sigma and its fan-in: how many numbers each of its outputs is computed from.
INITS: dict[str, Callable[[float, int], nnx.Initializer]] = {
    "gaussian": lambda sigma, _: nnx.initializers.normal(sigma),
    "he": lambda _, fan_in: nnx.initializers.normal(math.sqrt(2 / fan_in)),
    "pytorch": lambda _, fan_in: functools.partial(
        jax.random.uniform, minval=-(fan_in**-0.5), maxval=fan_in**-0.5
    ),
}
POOLS = {"max": layers.max_pool, "average": layers.average_pool}


class AlexNet(nnx.Module):
    """The network; its parameters are in the attributes conv1 … conv5, fc6 … fc8.

    Each layer has a `kernel`, (towers, kh, kw, in, out) or (towers, in, out), and a `bias`,
    (towers, out); `layers.LocalConv` has its own shapes. The leading axis may be laid over the mesh
    axis `model`: inside `jax.shard_map` the same code computes the towers that a device holds.
    fc6 reads tower by tower, each in (height, width, map) order.

    Args:
      num_classes: where the towers cannot share the classes evenly, the last outputs of the last
        tower stand for no class.
      architecture: a published network or a variation of it.
      dtype: of the activations; parameters are float32.
      rngs: its stream `params` draws the initial weights.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        architecture: Architecture = PAPER,
        *,
        dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_classes = num_classes
        self.architecture = nnx.static(architecture)
        self.dtype = dtype
        towers, init = architecture.towers, INITS[architecture.init]

        in_features = 3  # maps, then units, that a tower of the next layer sees
        for name, spec in architecture.convs.items():
            in_features *= towers if name in architecture.exchange_before else 1
            setattr(self, name, self._make_conv(name, spec, in_features, rngs))
            in_features = spec.maps // towers

        *_, (_, size) = architecture.spatial_sizes().values()
        in_features *= size**2
        for name, dense_spec in architecture.dense.items():
            in_features *= towers if name in architecture.exchange_before else 1
            out_features = (dense_spec.units or towers * math.ceil(num_classes / towers)) // towers
            dense = layers.Dense(
                (towers, in_features, out_features),
                init=init(dense_spec.sigma, in_features),
                bias=dense_spec.bias,
                rngs=rngs,
            )
            setattr(self, name, dense)
            in_features = out_features

    def __call__(self, images: jax.Array) -> jax.Array:
        """The class scores of images, without dropout, where one device holds all towers.

        Args:
          images: (N, H, W, 3), the mean image subtracted, in units of 0 to 255.

        Returns:
          float32 (N, classes).
        """
        return self.logits(images)[:, : self.num_classes]

    def logits(self, images: jax.Array, dropout_keys: jax.Array | None = None) -> jax.Array:
        """The scores of the local towers' classes; −inf for outputs that stand for no class.

        Args:
          images: (N, H, W, 3), the mean image subtracted, in units of 0 to 255.
          dropout_keys: (N,), a typed key for each image; None is a network without dropout.

        Returns:
          float32 (N, local classes), the classes that `local_classes` names.
        """
        outputs = self.activations(images, dropout_keys)[self.architecture.head]
        scores = jnp.concatenate(outputs, axis=-1).astype(jnp.float32)
        return jnp.where(self.local_classes() < self.num_classes, scores, -jnp.inf)

    def local_classes(self) -> jax.Array:
        """Which classes the local towers score: int (local classes,)."""
        local, _, outputs = getattr(self, self.architecture.head).kernel.shape
        first, *_ = layers.tower_indices(local, self.architecture.towers)
        return first * outputs + jnp.arange(local * outputs)

    def activations(
        self, images: jax.Array, dropout_keys: jax.Array | None = None
    ) -> dict[str, Towers]:
        """The output of each layer, an array per local tower: the paper's Figure 2, left to right.

        Under `jax.jit` only the layers that the caller uses are computed.

        Args:
          images: (N, H, W, 3), the mean image subtracted, in units of 0 to 255.
          dropout_keys: (N,), a typed key for each image; None is a network without dropout.

        Returns:
          For each layer by name, (N, H, W, maps) or (N, units) a tower, after what follows the
          layer (activation, normalization, pooling, dropout).
        """
        net = self.architecture
        outputs: dict[str, Towers] = {}
        h = [images.astype(self.dtype) * net.input_scale] * self._local_towers()

        for name, spec in net.convs.items():
            with jax.named_scope(name):  # profiles and plans tell the layers apart by it
                if name in net.exchange_before:
                    h = layers.exchange(h, net.towers)
                h = getattr(self, name)(h)
                for operation in spec.followed_by:
                    h = self._apply(operation, h)
            outputs[name] = h

        h = [x.reshape(x.shape[0], -1) for x in h]
        for index, name in enumerate(net.dense):
            with jax.named_scope(name):
                if name in net.exchange_before:
                    h = layers.exchange(h, net.towers)
                h = getattr(self, name)(h)
                if name != net.head:
                    h = self._dropout(self._apply("activation", h), dropout_keys, index)
            outputs[name] = h
        return outputs

    def _make_conv(
        self, name: str, spec: ConvSpec, in_features: int, rngs: nnx.Rngs
    ) -> layers.Conv | layers.LocalConv:
        net = self.architecture
        out_features = spec.maps // net.towers
        options: dict[str, Any] = {
            "stride": spec.stride,
            "padding": spec.padding,
            "init": INITS[net.init](spec.sigma, spec.size**2 * in_features),
            "bias": spec.bias,
            "rngs": rngs,
        }
        if not spec.local:
            shape = (net.towers, spec.size, spec.size, in_features, out_features)
            return layers.Conv(shape, **options)
        side, _ = net.spatial_sizes()[name]
        shape = (net.towers, side, side, spec.size**2 * in_features, out_features)
        return layers.LocalConv(shape, **options)

    def _dropout(self, xs: Towers, keys: jax.Array | None, layer: int) -> Towers:
        net = self.architecture
        if not net.dropout:
            return xs
        if keys is None:
            return [x * net.test_scale for x in xs]
        kept = layers.dropout(xs, net.dropout, keys, layer, net.towers)
        return kept if net.dropout_scaling == "test" else [x / (1 - net.dropout) for x in kept]

    def _local_towers(self) -> int:
        return getattr(self, self.architecture.layer_names[0]).kernel.shape[0]

    def _apply(self, operation: str, xs: Towers) -> Towers:
        net = self.architecture
        if operation == "activation":
            return [ACTIVATIONS[net.activation](x) for x in xs]
        if operation in net.pools:
            pool = net.pools[operation]
            return [POOLS[pool.kind](x, pool.window, pool.stride) for x in xs]
        norm = net.norms[operation]
        if not norm.enabled:
            return xs
        window = (1, norm.n, norm.n, 1) if norm.across == "spatial" else (1, 1, 1, norm.n)
        normalize = functools.partial(
            layers.response_norm, window=window, k=norm.k, alpha=norm.alpha, beta=norm.beta
        )
        if norm.across == "towers":
            all_maps, *_ = layers.exchange(xs, net.towers)
            return layers.own_maps(normalize(all_maps), len(xs), net.towers)
        return [normalize(x) for x in xs]
