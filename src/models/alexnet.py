"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012), its feature maps split over towers."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from . import layers
from .architecture import Architecture, ConvSpec, DenseSpec
from .kernels import PLAIN, Kernels
from .layers import Towers
from .presets import PAPER

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}
# Maps (sigma, fan-in) to an initializer. Fan-in is the number of inputs of one output.
INITS: dict[str, Callable[[float, int], nnx.Initializer]] = {
    "gaussian": lambda sigma, _: nnx.initializers.normal(sigma),
    "he": lambda _, fan_in: nnx.initializers.normal(math.sqrt(2 / fan_in)),
    "pytorch": lambda _, fan_in: functools.partial(
        jax.random.uniform, minval=-(fan_in**-0.5), maxval=fan_in**-0.5
    ),
}
POOLS = {"max": layers.max_pool, "average": layers.average_pool}


class AlexNet(nnx.Module):
    """The network; its parameters are in attributes named after its layers, such as conv1 and fc6.

    Each layer has a `kernel`, (towers, kh, kw, in, out) or (towers, in, out), and a `bias`,
    (towers, out), float32; `layers.LocalConv` has its own shapes. The leading axis can be sharded
    over the mesh axis `model`. Inside `jax.shard_map`, the same code computes only the device's own
    towers. The inputs of fc6 are ordered by tower, then height, width and map. If the towers cannot
    share the classes evenly, the last outputs of the last tower are padding.

    Its methods take images (N, H, W, 3), the mean image subtracted, in units of 0 to 255, and for
    each image a typed key (N,) of its dropout; None: no dropout. `dtype` is that of activations.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        architecture: Architecture = PAPER,
        *,
        dtype: jax.typing.DTypeLike = jnp.float32,
        kernels: Kernels = PLAIN,
        rngs: nnx.Rngs,
    ):
        self.num_classes = num_classes
        self.architecture = nnx.static(architecture)
        self.dtype = dtype
        self.kernels = nnx.static(kernels)
        *_, last_conv = architecture.convs
        _, last_size = architecture.spatial_sizes()[last_conv]
        in_features = 3  # maps, then units, that a tower of the next layer sees
        for name in architecture.layers:
            in_features *= architecture.towers if name in architecture.exchange_before else 1
            layer = self._make_layer(name, in_features, rngs)
            setattr(self, name, layer)
            in_features = layer.kernel.shape[-1] * (last_size**2 if name == last_conv else 1)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The class scores, float32 (N, classes), where one device holds all towers."""
        return self.logits(images)[:, : self.num_classes]

    def logits(self, images: jax.Array, dropout_keys: jax.Array | None = None) -> jax.Array:
        """The scores of `local_classes`, float32 (N, local classes); −inf for padding."""
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

        Returns:
          For each layer by name and each local tower, (N, H, W, maps) or (N, units), after the
          layer's activation, normalization, pooling and dropout.
        """
        net = self.architecture
        *_, last_conv = net.convs
        *hidden_dense, _ = net.dense
        local_towers = len(getattr(self, last_conv).kernel)
        h = [images.astype(self.dtype) * net.input_scale] * local_towers
        outputs: dict[str, Towers] = {}
        for name, spec in net.layers.items():
            with jax.named_scope(name):  # names the layer in profiles and plans
                if name in net.exchange_before:
                    h = layers.exchange(h, net.towers)
                h = getattr(self, name)(h)
                h = self._follow(spec.followed_by, h)
                if name in hidden_dense:
                    h = self._dropout(h, dropout_keys, hidden_dense.index(name))
            outputs[name] = h
            if name == last_conv:
                h = [x.reshape(x.shape[0], -1) for x in h]
        return outputs

    def _make_layer(self, name: str, in_features: int, rngs: nnx.Rngs) -> layers.Layer:
        net = self.architecture
        spec = net.layers[name]
        fan_in = in_features * (spec.size**2 if isinstance(spec, ConvSpec) else 1)
        init = INITS[net.init](spec.sigma, fan_in)
        options: dict[str, Any] = {"init": init, "bias": spec.bias, "rngs": rngs}
        if isinstance(spec, DenseSpec):
            units = spec.units // net.towers or math.ceil(self.num_classes / net.towers)
            return layers.Dense((net.towers, fan_in, units), **options)
        convolve = self.kernels.convolve
        options |= {"stride": spec.stride, "padding": spec.padding, "convolve": convolve}
        maps = spec.maps // net.towers
        if spec.local:
            size, _ = net.spatial_sizes()[name]
            return layers.LocalConv((net.towers, size, size, fan_in, maps), **options)
        return layers.Conv((net.towers, spec.size, spec.size, in_features, maps), **options)

    def _dropout(self, xs: Towers, keys: jax.Array | None, layer: int) -> Towers:
        net = self.architecture
        if not net.dropout:
            return xs
        if keys is None:
            return [x * net.test_scale for x in xs]
        kept = layers.dropout(xs, net.dropout, keys, layer, net.towers)
        return kept if net.dropout_scaling == "test" else [x / (1 - net.dropout) for x in kept]

    def _follow(self, operations: tuple[str, ...], xs: Towers) -> Towers:
        """Applies operations in their order: those within a tower together, image by image."""
        for across, group in itertools.groupby(operations, self._is_across_towers):
            if across:
                xs = functools.reduce(self._normalize_across_towers, group, xs)
            else:
                function = functools.partial(functools.reduce, self._apply, tuple(group))
                xs = [self.kernels.per_image(function, x) for x in xs]
        return xs

    def _is_across_towers(self, operation: str) -> bool:
        norm = self.architecture.norms.get(operation)
        return norm is not None and norm.enabled and norm.across == "towers"

    def _normalize_across_towers(self, xs: Towers, operation: str) -> Towers:
        towers = self.architecture.towers
        all_maps, *_ = layers.exchange(xs, towers)
        return layers.own_maps(self._apply(all_maps, operation), len(xs), towers)

    def _apply(self, x: jax.Array, operation: str) -> jax.Array:
        net = self.architecture
        if operation == "activation":
            return ACTIVATIONS[net.activation](x)
        if operation in net.pools:
            pool = net.pools[operation]
            return POOLS[pool.kind](x, pool.window, pool.stride)
        norm = net.norms[operation]
        if not norm.enabled:
            return x
        window = (1, norm.n, norm.n, 1) if norm.across == "spatial" else (1, 1, 1, norm.n)
        return layers.response_norm(x, window, norm.k, norm.alpha, norm.beta)
