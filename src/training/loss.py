"""The loss of each example, which training minimizes: weighted and smoothed cross-entropy."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..errors import UserError

Loss = Callable[
    [jax.Array, jax.Array, jax.Array, jax.Array, Callable[[jax.Array], jax.Array]], jax.Array
]
"""(cross-entropy (N,), log_p, classes, labels, sum_over_towers as `example_metrics` has) → (N,)."""


def plain(cross_entropy: jax.Array, *_: object) -> jax.Array:
    """The cross-entropy itself, as in the paper."""
    return cross_entropy


def make_loss(config: ConfigDict, dataset: PreparedDataset) -> Loss:
    """Makes the loss of a recipe.

    With `config.label_smoothing` ε, the target is 1 − ε for the label and ε shared by all classes
    (Szegedy et al. 2016). `config.class_weights` multiplies the loss of each example by the weight
    of its label: "balanced" is images / (classes · images of the class).

    Raises:
      UserError: there is not one weight for each class.
    """
    num_classes, smoothing = len(dataset.class_names), config.label_smoothing
    if not (smoothing or config.class_weights):
        return plain
    weights = _class_weights(config.class_weights, dataset)

    def loss(
        cross_entropy: jax.Array,
        log_p: jax.Array,
        classes: jax.Array,
        labels: jax.Array,
        sum_over_towers: Callable[[jax.Array], jax.Array],
    ) -> jax.Array:
        # Where towers hold unequal shares, some outputs stand for no class.
        over_classes = sum_over_towers(jnp.where(classes < num_classes, log_p, 0).sum(axis=-1))
        smoothed = (1 - smoothing) * cross_entropy - smoothing * over_classes / num_classes
        return jnp.asarray(weights)[labels] * smoothed

    return loss


def parse_class_weights(text: str) -> list[float] | None:
    """The numbers of `config.class_weights`; None if it is "balanced".

    Raises:
      UserError: it is neither, or a number is not positive.
    """
    if text == "balanced":
        return None
    try:
        weights = [float(number) for number in text.split(",")] if text else []
        if not all(0 < weight < np.inf for weight in weights):
            raise ValueError
    except ValueError:
        raise UserError(
            f"config.class_weights: {text!r} is neither 'balanced' nor positive numbers separated "
            "by commas, one for each class"
        ) from None
    return weights


def _class_weights(text: str, dataset: PreparedDataset) -> np.ndarray:
    names = dataset.class_names
    if (weights := parse_class_weights(text)) is None:
        counts = np.array(dataset.class_counts)
        return (counts.sum() / (len(names) * np.maximum(counts, 1))).astype(np.float32)
    if weights and len(weights) != len(names):
        raise UserError(
            f"config.class_weights: {len(weights)} numbers for {len(names)} classes, which are "
            + ", ".join(names[:10])
            + "…" * (len(names) > 10)
        )
    return np.array(weights or [1] * len(names), np.float32)
