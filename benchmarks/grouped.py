"""Training speed of the same network written with grouped convolutions, as is usual in JAX.

    python -m benchmarks.grouped [--batch=128] [--seconds=10]

Both towers' maps are one array, and conv2, conv4 and conv5 have `feature_group_count=2`. All else
is as in benchmarks/towers.py.
"""

from dataclasses import replace
from typing import Any

import jax
import optax
from flax import nnx
from jax import lax

from benchmarks import training, worker
from benchmarks.towers import random_statistics
from configs import alexnet
from src.data import augment
from src.models import layers
from src.models.alexnet import AlexNet
from src.models.presets import PAPER
from src.training.optimizer import momentum_sgd


class GroupedConv(layers.Conv):
    """A convolution whose maps are in two groups; a kernel sees one group's."""

    def __init__(self, full: layers.Conv):
        seen = full.kernel.shape[3] // 2
        self.kernel = nnx.Param(full.kernel[..., :seen, :])
        self.bias = nnx.Param(full.bias[...])
        self.stride, self.padding = full.stride, full.padding

    def __call__(self, xs: layers.Towers) -> layers.Towers:
        maps = lax.conv_general_dilated(
            xs[0],
            self.kernel[0],
            (self.stride, self.stride),
            (self.padding, self.padding),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )
        return [maps + self.bias[0]]


class GroupedAlexNet(AlexNet):
    """The paper's network as a single column."""

    def __init__(self, *, rngs: nnx.Rngs):
        super().__init__(training.CLASSES, replace(PAPER, towers=1), rngs=rngs)
        for name in ("conv2", "conv4", "conv5"):
            setattr(self, name, GroupedConv(getattr(self, name)))

    def _apply(self, operation: str, xs: layers.Towers) -> layers.Towers:
        if operation != "lrn":
            return super()._apply(operation, xs)
        (x,) = xs
        towers = x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)  # each normalizes its own maps
        norm = PAPER.norms["lrn"]
        out = layers.response_norm(towers, (1, 1, 1, 1, norm.n), norm.k, norm.alpha, norm.beta)
        return [out.reshape(x.shape)]


def main() -> dict[str, Any]:
    """Trains on one batch, again and again."""
    flags = training.parse()
    config = alexnet.paper("imagenet2012")
    optimizer = momentum_sgd(config.schedule.learning_rate, **config.optimizer)
    graph, params = nnx.split(GroupedAlexNet(rngs=nnx.Rngs(config.seed)))
    params = nnx.to_pure_dict(params)
    velocity = optimizer.init(params)
    statistics = jax.device_put(random_statistics())
    batch, key = training.random_batch(flags.batch), jax.random.key(config.seed)

    @jax.jit(donate_argnums=(0, 1))
    def train_step(params: Any, velocity: Any, batch: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, flags.batch)

        def loss(params: Any) -> jax.Array:
            images = augment.subtract_mean(
                batch["image"], statistics.mean, batch["offset"], batch["flip"], config.augment.mean
            )
            images = augment.color_noise(
                images, keys, statistics.deviations, statistics.directions, config.augment.color
            )
            logits = nnx.merge(graph, params).logits(images, dropout_keys=keys)
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, velocity = optimizer.update(grads, velocity, params)
        return optax.apply_updates(params, updates), velocity, value

    def step() -> None:
        nonlocal params, velocity
        params, velocity, value = train_step(params, velocity, jax.device_put(batch), key)
        jax.block_until_ready((params, velocity, value))

    return training.measure(step, flags)


if __name__ == "__main__":
    worker.report(main)
