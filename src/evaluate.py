"""Top-1 and top-5 error over a whole split, of one network or the average of several.

python -m src.evaluate --workdir=DIR[,DIR…] [--views=1|9|10] [--checkpoint=newest|best]
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import Mesh

from src import scores
from src.classifier import load
from src.cli import new_flags, run
from src.data import pipeline
from src.data.augment import VIEWS as KNOWN_VIEWS
from src.data.augment import Statistics
from src.data.prepare import prepare
from src.errors import UserError
from src.inference import Forward
from src.mesh import DATA_AXIS, local_rows, make_mesh, to_devices
from src.workdir import check_data, read_config

FLAGS = new_flags()
WORKDIR = flags.DEFINE_list(
    "workdir", None, "The run, or runs to average.", required=True, flag_values=FLAGS
)
VIEWS = flags.DEFINE_enum(
    "views",
    None,
    [str(views) for views in KNOWN_VIEWS],
    "Of each image. Default: the recipe's.",
    flag_values=FLAGS,
)
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "newest", ["newest", "best"], "Which to use.", flag_values=FLAGS
)


class Member(NamedTuple):
    """A network of an ensemble, or the only one."""

    classify: Forward
    params: Any
    statistics: Statistics
    batches: Callable[[], Iterator[pipeline.Batch]]  # the images as this network wants them


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
    totals = None
    for batches in zip(*(member.batches() for member in members), strict=True):
        if stop():
            return None
        log_p = []
        for member, batch in zip(members, batches, strict=True):
            on_devices = to_devices(mesh, batch, global_batch)
            log_p.append(member.classify(member.params, on_devices["image"], member.statistics))
        sums = _sums(log_p, on_devices["label"], on_devices["mask"])
        totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
    values = {name: float(value) for name, value in jax.device_get(totals).items()}
    examples = values.pop("examples")
    means = {name: value / examples for name, value in values.items()}
    return {**means, "examples": int(examples)}


@jax.jit
def _sums(log_p: list[jax.Array], labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    mean = jax.nn.logsumexp(jnp.stack(log_p), axis=0) - math.log(len(log_p))
    classes = jnp.arange(mean.shape[1])
    label_log_p = scores.of_label(mean, classes, labels)
    rank = scores.put_before(mean, label_log_p, classes, labels)
    return {
        "loss": -(label_log_p * mask).sum(),
        "top1_error": ((rank >= 1) * mask).sum(),
        "top5_error": ((rank >= 5) * mask).sum(),
        "examples": mask.sum(),
    }


def describe(result: dict[str, Any]) -> str:
    """A result in a line."""
    return (
        f"top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%} "
        f"({result['examples']} images, {result['views']} view{'s' * (result['views'] > 1)})"
    )


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UserError(f"arguments: {arguments[0]!r} is no flag; all are --NAME=VALUE")
    workdirs = [Path(name) for name in WORKDIR.value]
    configs = [read_config(workdir) for workdir in workdirs]
    sources = {(c.data.dataset, c.data.train_split, c.data.eval_split) for c in configs}
    if len(sources) > 1:
        raise UserError(f"workdir: trained on different data: {sorted(sources)}; name such of one")
    mesh = make_mesh(math.gcd(*(c.model.towers for c in configs)), jax.device_count())
    shards = mesh.shape[DATA_AXIS]
    global_batch = -(-configs[0].batch_size // shards) * shards
    rows = local_rows(mesh, global_batch)
    views = int(VIEWS.value or configs[0].views)

    members = []
    for workdir, config in zip(workdirs, configs, strict=True):
        classifier = load(workdir, checkpoint=CHECKPOINT.value, mesh=mesh)
        data = prepare(**config.data)
        check_data(workdir, data)
        batches = functools.partial(
            pipeline.eval_batches, data, data.eval_split, global_batch=global_batch, rows=rows
        )
        parts = (classifier.classify(views), classifier.params, classifier.statistics, batches)
        members.append(Member(*parts))
    result = evaluate(members, mesh, global_batch)
    assert result is not None  # nothing asks it to stop
    print(f"{data.eval_split}: {describe({**result, 'views': views})}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
