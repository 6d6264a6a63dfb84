"""A network without its training: from prepared images to probabilities and features."""

import dataclasses
from collections.abc import Callable
from typing import Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data import augment
from ..data.crops import evaluation_views
from ..data.statistics import Array, Statistics
from ..distributed.devices import platform
from ..distributed.mesh import BATCH, DATA_AXIS, PARAMETERS
from ..models.architecture import Architecture
from ..models.classification import log_softmax
from ..models.factory import Params, graphdef
from ..models.kernels import PLAIN, choose_kernels
from ..models.layers import TOWER_AXIS

Forward = Callable[[Params, jax.Array, Statistics], jax.Array]
"""(params, uint8 images (N, size, size, 3), statistics) → what is computed of each image."""


@dataclasses.dataclass(frozen=True)
class Network:
    """What the forward passes of a run's network depend on, besides its parameters."""

    architecture: Architecture
    num_classes: int
    dtype: str  # of the activations
    size: int  # height and width of the prepared images
    mean: str  # one of augment.MEAN_FORMS
    cpu_kernels: str  # one of kernels.CPU_KERNELS

    @classmethod
    def from_config(cls, config: ConfigDict, num_classes: int) -> Self:
        architecture = Architecture.from_config(config.model)
        size, mean = config.data.size, config.augment.mean
        return cls(architecture, num_classes, config.dtype, size, mean, config.cpu_kernels)

    @property
    def margin(self) -> int:
        """By how many pixels the prepared images are larger than the network's input."""
        return self.size - self.architecture.image_size

    def graphdef(self, mesh: Mesh | None = None) -> nnx.GraphDef:
        """The network without its parameters, for the mesh's devices; None: for any device."""
        kernels = choose_kernels(platform(mesh), self.cpu_kernels) if mesh else PLAIN
        return graphdef(self.architecture, self.num_classes, self.dtype, kernels)

    def view(self, images: Array, statistics: Statistics, view: tuple[Array, Array]) -> Array:
        """One view of images, the mean subtracted: (N, crop, crop, 3).

        `view` is an offset and a flip of `evaluation_views`.
        """
        crop = self.architecture.image_size
        return augment.view(images, statistics.mean, *view, crop=crop, form=self.mean)


def make_classify(network: Network, mesh: Mesh, views: int) -> Forward:
    """Compiles the log of the mean probabilities over `evaluation_views`: float32 (N, classes)."""
    graph = network.graphdef(mesh)
    offsets_and_flips = evaluation_views(views, network.margin)

    def classify(params: Params, images: jax.Array, statistics: Statistics) -> jax.Array:
        model = nnx.merge(graph, params)

        def classify_view(view: tuple[jax.Array, jax.Array]) -> jax.Array:
            return log_softmax(model.logits(network.view(images, statistics, view)))

        # One view after the other, to need the memory of one.
        log_p = jax.lax.map(classify_view, offsets_and_flips)
        return jax.nn.logsumexp(log_p, axis=0) - jnp.log(views)

    return _compile(classify, mesh, jax.P(DATA_AXIS, TOWER_AXIS), network.num_classes)


def make_features(network: Network, mesh: Mesh, layer: str) -> Forward:
    """Compiles a layer's output for the central view, the towers' maps or units side by side.

    It is float32 (N, H, W, maps) or (N, units).
    """
    graph = network.graphdef(mesh)
    (center,) = zip(*evaluation_views(1, network.margin), strict=True)
    axes = (None, None) if layer in network.architecture.convs else ()

    def features(params: Params, images: jax.Array, statistics: Statistics) -> jax.Array:
        crops = network.view(images, statistics, center)
        towers = nnx.merge(graph, params).activations(crops)[layer]
        return jnp.concatenate(towers, axis=-1).astype(jnp.float32)

    outputs = network.num_classes if layer == network.architecture.head else None
    return _compile(features, mesh, jax.P(DATA_AXIS, *axes, TOWER_AXIS), outputs)


def _compile(forward: Forward, mesh: Mesh, out_specs: jax.P, outputs: int | None) -> Forward:
    """Compiles a forward pass, of whose outputs all but the first `outputs` stand for no class."""
    in_specs = (PARAMETERS, BATCH, jax.P())
    sharded = jax.shard_map(forward, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return jax.jit(lambda *arguments: sharded(*arguments)[..., :outputs])
