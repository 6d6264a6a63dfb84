"""A network without its training: from prepared images to log-probabilities and features."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data import augment
from ..data.crops import evaluation_views
from ..data.statistics import Array, Statistics
from ..distributed.mesh import BATCH, DATA_AXIS, PARAMETERS
from ..models.architecture import layer_number
from ..models.classification import log_softmax
from ..models.factory import graphdef
from ..models.layers import TOWER_AXIS

Forward = Callable[[Any, jax.Array, Statistics], jax.Array]
"""(params, uint8 images (N, size, size, 3), statistics) → what is computed of each image."""


def make_classify(config: ConfigDict, num_classes: int, mesh: Mesh, views: int) -> Forward:
    """Compiles the log-probabilities (N, classes) of images, float32.

    Args:
      views: of each image, whose probabilities are averaged: see `evaluation_views`.
    """
    graph = graphdef(config, num_classes)

    places = evaluation_views(views, config.data.size - config.model.image_size)

    def of_shard(params: Any, images: jax.Array, statistics: Statistics) -> jax.Array:
        model = nnx.merge(graph, params)

        def of_view(place: tuple[jax.Array, jax.Array]) -> jax.Array:
            return log_softmax(model.logits(_view(config, images, statistics, place)))

        log_p = jax.lax.map(of_view, places)  # one by one, to need the memory of one
        return jax.nn.logsumexp(log_p, axis=0) - jnp.log(views)

    classify = _over_mesh(of_shard, mesh, jax.P(DATA_AXIS, TOWER_AXIS))
    return jax.jit(lambda *arguments: classify(*arguments)[:, :num_classes])


def make_portable(
    config: ConfigDict, num_classes: int, params: Any, statistics: Statistics, views: int
) -> Callable[[jax.Array], jax.Array]:
    """The network for one device, with all that it needs inside.

    Written with the plainest operations, for it is to be translated for other programs: each view
    is cut out by a slice, and its part of the mean image is a constant.

    Args:
      params: as NumPy arrays, all towers.
      statistics: as NumPy arrays.
      views: of each image, whose probabilities are averaged.

    Returns:
      A function from uint8 images (N, size, size, 3) to probabilities, float32 (N, classes). N may
      be a symbolic dimension.
    """
    graph = graphdef(config, num_classes)
    crop = config.model.image_size
    places = evaluation_views(views, config.data.size - crop)
    offsets, flips = (np.asarray(numbers) for numbers in places)
    black = np.zeros((1, *statistics.mean.shape), np.uint8)
    means = [
        -np.asarray(_view(config, black, statistics, place))
        for place in zip(offsets, flips, strict=True)
    ]

    def probabilities(images: jax.Array) -> jax.Array:
        model = nnx.merge(graph, params)
        crops = []
        for (row, column), flip, mean in zip(offsets.tolist(), flips.tolist(), means, strict=True):
            part = images[:, row : row + crop, column : column + crop]
            crops.append((part[:, :, ::-1] if flip else part).astype(jnp.float32) - mean)
        of_views = jax.lax.map(lambda x: jax.nn.softmax(model.logits(x)), jnp.stack(crops))
        return of_views.mean(axis=0)[:, :num_classes]

    return probabilities


def make_features(config: ConfigDict, num_classes: int, mesh: Mesh, layer: str) -> Forward:
    """Compiles what a layer hands on of the central view, its towers' maps or units side by side.

    Returns:
      A function to (N, H, W, maps) or (N, units).
    """
    graph = graphdef(config, num_classes)
    (offset,), (flip,) = evaluation_views(1, config.data.size - config.model.image_size)
    axes = (None, None) if layer in config.model.convs else ()

    def of_shard(params: Any, images: jax.Array, statistics: Statistics) -> jax.Array:
        crops = _view(config, images, statistics, (offset, flip))
        towers = nnx.merge(graph, params).activations(crops)[layer]
        return jnp.concatenate(towers, axis=-1).astype(jnp.float32)

    featurize = _over_mesh(of_shard, mesh, jax.P(DATA_AXIS, *axes, TOWER_AXIS))
    is_last = layer == max(config.model.dense, key=layer_number)
    made = num_classes if is_last else None  # what stands for no class is left out
    return jax.jit(lambda *arguments: featurize(*arguments)[..., :made])


def _view(
    config: ConfigDict,
    images: Array,
    statistics: Statistics,
    place: tuple[Array, Array],
) -> Array:
    size, form = config.model.image_size, config.augment.mean
    return augment.view(images, statistics.mean, *place, crop=size, form=form)


def _over_mesh(of_shard: Forward, mesh: Mesh, out: jax.P) -> Forward:
    return jax.shard_map(
        of_shard, mesh=mesh, in_specs=(PARAMETERS, BATCH, jax.P()), out_specs=out, check_vma=True
    )
