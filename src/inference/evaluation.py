"""Top-1 and top-5 error over a split, of one network or the average of several."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..data.loader import Batch
from ..data.statistics import Statistics
from ..distributed.mesh import replicate, to_devices
from ..models.classification import count_ranked_above, label_log_prob
from .forward import Forward

TOTALS = ("loss", "top1_error", "top5_error", "examples")


class Member(NamedTuple):
    """A network of an ensemble, or the only one."""

    classify: Forward
    params: Any
    statistics: Statistics
    batches: Callable[[], Iterator[Batch]]  # the images as this network wants them


def evaluate(
    members: Sequence[Member],
    mesh: Mesh,
    global_batch: int,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Averages the members' probabilities of every image, each counted once on any mesh.

    Args:
      global_batch: images a batch over all processes, as in the members' batches.
      stop: asked before each batch.

    Returns:
      `loss` (mean cross-entropy in nats), `top1_error` and `top5_error` (fractions), `examples`; or
      None if `stop` said so.
    """
    add = _adder(tuple(member.classify for member in members))
    networks = [(member.params, member.statistics) for member in members]
    totals = replicate(mesh, dict.fromkeys(TOTALS, np.float32(0)))
    for batches in zip(*(member.batches() for member in members), strict=True):
        if stop():
            return None
        before = totals
        totals = add(totals, networks, [to_devices(mesh, b, global_batch) for b in batches])
        # At most two under way: the CPU's devices have few threads, and those that many waiting
        # batches take are missing for the one that all wait for.
        jax.block_until_ready(before)
    values = {name: float(value) for name, value in jax.device_get(totals).items()}
    examples = values.pop("examples")
    means = {name: value / examples for name, value in values.items()}
    return {**means, "examples": int(examples)}


@functools.cache
def _adder(classify: tuple[Forward, ...]) -> Callable[..., dict[str, jax.Array]]:
    """Compiles (totals, the networks, a batch for each) → totals with the batch's sums.

    Each batch thus waits for the one before on every device. If batches could overtake each other,
    devices that are threads of few cores would wait in different batches for one another forever.
    """

    def add(
        totals: dict[str, jax.Array],
        networks: list[tuple[Any, Statistics]],
        batches: list[dict[str, jax.Array]],
    ) -> dict[str, jax.Array]:
        log_p = [
            of_network(params, batch["image"], statistics)
            for of_network, (params, statistics), batch in zip(
                classify, networks, batches, strict=True
            )
        ]
        labels, mask = batches[0]["label"], batches[0]["mask"]
        mean = jax.nn.logsumexp(jnp.stack(log_p), axis=0) - math.log(len(log_p))
        classes = jnp.arange(mean.shape[1])
        label_log_p = label_log_prob(mean, classes, labels)
        rank = count_ranked_above(mean, label_log_p, classes, labels)
        sums = {
            "loss": -(label_log_p * mask).sum(),
            "top1_error": ((rank >= 1) * mask).sum(),
            "top5_error": ((rank >= 5) * mask).sum(),
            "examples": mask.sum(),
        }
        return jax.tree.map(jnp.add, totals, sums)

    return jax.jit(add)


def describe_result(result: dict[str, Any]) -> str:
    """A result in a line."""
    return (
        f"top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%} "
        f"({result['examples']} images, {result['views']} view{'s' * (result['views'] > 1)})"
    )
