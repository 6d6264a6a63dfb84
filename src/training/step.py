"""The compiled part of training: initialization, loss, gradient, update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data import augment
from ..data.statistics import Statistics
from ..distributed.mesh import BATCH, DATA_AXIS, PARAMETERS
from ..models.classification import count_ranked_above, label_log_prob, log_softmax
from ..models.factory import graphdef
from ..models.layers import TOWER_AXIS
from .optimizer import is_frozen, momentum_sgd
from .state import TrainState

Batch = dict[str, jax.Array]  # image, label, offset, flip: what src.data.pipeline yields
Metrics = dict[str, jax.Array]


def make_train_step(
    config: ConfigDict, num_classes: int, mesh: Mesh
) -> Callable[[TrainState, Batch, Statistics, jax.typing.ArrayLike], tuple[TrainState, Metrics]]:
    """Compiles one step of training on the mesh.

    Returns:
      (state, batch, statistics, learning rate) → (next state, metrics), which takes the state's
      memory over. The metrics are scalars over the global batch: `loss`, the mean cross-entropy in
      nats; `top1_error` and `top5_error`, fractions; `grad_norm`, of the loss without weight decay.
    """
    graph = graphdef(config, num_classes)

    def shard_metrics(
        params: Any, batch: Batch, statistics: Statistics, step_key: jax.Array
    ) -> Metrics:
        rows = lax.axis_index(DATA_AXIS) * len(batch["label"]) + jnp.arange(len(batch["label"]))
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, rows)
        color_keys, dropout_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        images = augment.subtract_mean(
            batch["image"], statistics.mean, batch["offset"], batch["flip"], config.augment.mean
        )
        images = augment.color_noise(
            images, color_keys, statistics.deviations, statistics.directions, config.augment.color
        )
        model = nnx.merge(graph, params)
        log_p = log_softmax(model.logits(images, dropout_keys))
        classes, labels = model.local_classes(), batch["label"]
        label_log_p = lax.psum(label_log_prob(log_p, classes, labels), TOWER_AXIS)
        ahead = count_ranked_above(
            lax.stop_gradient(log_p), lax.stop_gradient(label_log_p), classes, labels
        )
        rank = lax.psum(ahead, TOWER_AXIS)
        sums = {
            "loss": -label_log_p.sum(),
            "top1_error": (rank >= 1).sum(),
            "top5_error": (rank >= 5).sum(),
        }
        return jax.tree.map(lambda x: lax.psum(x, DATA_AXIS) / config.batch_size, sums)

    sharded_metrics = jax.shard_map(
        shard_metrics,
        mesh=mesh,
        in_specs=(PARAMETERS, BATCH, jax.P(), jax.P()),
        out_specs=jax.P(),
        check_vma=True,
    )

    def step(
        state: TrainState, batch: Batch, statistics: Statistics, rate: jax.typing.ArrayLike
    ) -> tuple[TrainState, Metrics]:
        _, training_key = jax.random.split(
            jax.random.key(config.seed)
        )  # the other: initial weights
        step_key = jax.random.fold_in(training_key, state.step)

        def loss(params: Any) -> tuple[jax.Array, Metrics]:
            params = {
                layer: lax.stop_gradient(of_layer)
                if is_frozen(layer, config.optimizer.frozen_layers)
                else of_layer
                for layer, of_layer in params.items()
            }
            metrics = sharded_metrics(params, batch, statistics, step_key)
            return metrics["loss"], metrics

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        optimizer = momentum_sgd(rate, **config.optimizer)
        updates, velocity = optimizer.update(grads, state.velocity, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, velocity), metrics

    return jax.jit(step, donate_argnums=0)
