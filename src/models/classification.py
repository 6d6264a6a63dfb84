"""From class scores to the loss and the rank of the true class, wherever the classes are held."""

import jax
import jax.numpy as jnp
from jax import lax

from .layers import TOWER_AXIS


def log_softmax(logits: jax.Array) -> jax.Array:
    """The log-probabilities (N, local classes) of the classes that this device's towers score.

    Inside `jax.shard_map`: the sum goes over the classes of all towers.
    """
    top = lax.pmax(lax.stop_gradient(logits.max(axis=-1, keepdims=True)), TOWER_AXIS)
    total = lax.psum(jnp.exp(logits - top).sum(axis=-1, keepdims=True), TOWER_AXIS)
    return logits - top - jnp.log(total)


def label_log_prob(log_p: jax.Array, classes: jax.Array, labels: jax.Array) -> jax.Array:
    """The log-probability of each label (N,); zero where it is none of `classes`."""
    return jnp.where(classes == labels[:, None], log_p, 0).sum(axis=-1)


def count_ranked_above(
    log_p: jax.Array, label_log_p: jax.Array, classes: jax.Array, labels: jax.Array
) -> jax.Array:
    """How many of `classes` rank before the label: int (N,).

    Of equally probable classes the one with the lower index comes first, as in a stable sort: a
    network that tells nothing apart must not look right. Nor must one whose scores are no numbers:
    of those, all come before the label.
    """
    own = label_log_p[:, None]
    after = (log_p < own) | ((log_p == own) & (classes >= labels[:, None]))
    return (~after).sum(axis=-1)
