"""Stochastic gradient descent with momentum, in the paper's form."""

from typing import Any

import jax
import optax


def momentum(
    rate: jax.typing.ArrayLike, *, decay: float, weight_decay: float, decay_biases: bool
) -> optax.GradientTransformation:
    """v ← decay·v − weight_decay·rate·w − rate·g; w ← w + v (the paper's section 5).

    The rate is inside the velocity, so that lowering it leaves the velocity as it was; `optax.sgd`
    multiplies the whole velocity by the rate.

    Args:
      rate: the learning rate ε of this step; the state does not depend on it.
      decay: the momentum, 0.9 in the paper.
      weight_decay: 0.0005 in the paper.
      decay_biases: whether it applies to the biases as well; in the authors' code it does not.
    """

    def decayed(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: decay_biases or path[-1].key != "bias", params
        )

    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=decayed),
        optax.scale_by_learning_rate(rate),
        optax.trace(decay),
    )
