"""A network without its training: from prepared images to log-probabilities and features."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from src import scores
from src.data import augment
from src.data.prepare import Statistics
from src.mesh import BATCH, DATA_AXIS, PARAMETERS
from src.models.layers import TOWER_AXIS
from src.step import graph_of

Forward = Callable[[Any, jax.Array, Statistics], jax.Array]
"""(params, uint8 images (N, size, size, 3), statistics) → what is computed of each image."""


def make_classify(config: ConfigDict, num_classes: int, mesh: Mesh, views: int) -> Forward:
    """Compiles the log-probabilities (N, classes) of images, float32.

    Args:
      views: 1, the centre; or 10, the four corners, the centre and their mirror images, whose
        probabilities are averaged (the paper's section 4.1).
    """
    graph = graph_of(config, num_classes)

    def of_shard(params: Any, images: jax.Array, statistics: Statistics) -> jax.Array:
        model = nnx.merge(graph, params)
        crops = _views(config, images, statistics, views)
        log_p = jax.lax.map(lambda crop: scores.log_softmax(model.logits(crop)), crops)
        return jax.nn.logsumexp(log_p, axis=0) - jnp.log(views)

    classify = _over_mesh(of_shard, mesh, jax.P(DATA_AXIS, TOWER_AXIS))
    return jax.jit(lambda *arguments: classify(*arguments)[:, :num_classes])


def make_features(config: ConfigDict, num_classes: int, mesh: Mesh, layer: str) -> Forward:
    """Compiles what a layer hands on of the central view, its towers' maps or units side by side.

    Returns:
      A function to (N, H, W, maps) or (N, units).
    """
    graph = graph_of(config, num_classes)
    axes = (None, None) if layer in config.model.convs else ()

    def of_shard(params: Any, images: jax.Array, statistics: Statistics) -> jax.Array:
        (crop,) = _views(config, images, statistics, 1)
        towers = nnx.merge(graph, params).activations(crop)[layer]
        return jnp.concatenate(towers, axis=-1).astype(jnp.float32)

    return jax.jit(_over_mesh(of_shard, mesh, jax.P(DATA_AXIS, *axes, TOWER_AXIS)))


def _views(config: ConfigDict, images: jax.Array, statistics: Statistics, count: int) -> jax.Array:
    """(count, N, crop, crop, 3), the mean image subtracted."""
    views = augment.views(
        images,
        statistics.mean,
        crop=config.model.image_size,
        count=count,
        form=config.augment.mean,
    )
    return views.swapaxes(0, 1)


def _over_mesh(of_shard: Forward, mesh: Mesh, out: jax.P) -> Forward:
    return jax.shard_map(
        of_shard, mesh=mesh, in_specs=(PARAMETERS, BATCH, jax.P()), out_specs=out, check_vma=True
    )
