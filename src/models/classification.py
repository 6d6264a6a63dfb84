"""From class scores to the loss and the errors, wherever the classes are held."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .layers import TOWER_AXIS


def log_softmax(logits: jax.Array) -> jax.Array:
    """The log-probabilities (N, local classes) of the classes that this device's towers score.

    Inside `jax.shard_map`: the sum goes over the classes of all towers.
    """
    largest = lax.pmax(lax.stop_gradient(logits.max(axis=-1, keepdims=True)), TOWER_AXIS)
    total = lax.psum(jnp.exp(logits - largest).sum(axis=-1, keepdims=True), TOWER_AXIS)
    return logits - largest - jnp.log(total)


def example_metrics(
    log_p: jax.Array,
    classes: jax.Array,
    labels: jax.Array,
    sum_over_towers: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> dict[str, jax.Array]:
    """The metrics of each example, (N,).

    Args:
      log_p: (N, local classes), log-probabilities.
      classes: (local classes,), which classes these are.
      labels: (N,).
      sum_over_towers: adds what the towers compute where each holds a part of the classes.

    Returns:
      `loss`, the cross-entropy in nats; `top1_error` and `top5_error`, whether at least 1 or 5
      classes rank above the label.
    """
    log_prob = sum_over_towers(label_log_prob(log_p, classes, labels))
    log_p, own = lax.stop_gradient((log_p, log_prob))
    rank = sum_over_towers(count_ranked_above(log_p, own, classes, labels))
    return {"loss": -log_prob, "top1_error": rank >= 1, "top5_error": rank >= 5}


def label_log_prob(log_p: jax.Array, classes: jax.Array, labels: jax.Array) -> jax.Array:
    """The log-probability of each label (N,); zero where it is none of `classes`."""
    return jnp.where(classes == labels[:, None], log_p, 0).sum(axis=-1)


def count_ranked_above(
    log_p: jax.Array, label_log_p: jax.Array, classes: jax.Array, labels: jax.Array
) -> jax.Array:
    """How many of `classes` rank above the label: int (N,).

    Of equally probable classes the one with the lower index ranks first, as in a stable sort: a
    network that cannot tell classes apart must not look right. Where the scores are not numbers,
    all classes rank above the label.
    """
    own = label_log_p[:, None]
    below = (log_p < own) | ((log_p == own) & (classes >= labels[:, None]))
    return (~below).sum(axis=-1)
