"""Top-1 and top-5 error over a whole split, of one network or the average of several.

python -m src.evaluate --workdir=DIR[,DIR…] [--views=1|9|10] [--checkpoint=newest|best]

What it finds of one network is kept in its workdir, for the card of `src.export`.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import Mesh

from src.classifier import load
from src.cli import define_checkpoint, define_views, new_flags, run
from src.data.loader import Batch, eval_batches
from src.data.preparation import prepare_dataset
from src.data.statistics import Statistics
from src.distributed.mesh import DATA_AXIS, local_rows, make_mesh, replicate, to_devices
from src.errors import UserError
from src.inference import Forward
from src.models.classification import count_ranked_above, label_log_prob
from src.runs.config import read_config
from src.runs.results import write_evaluation
from src.runs.workdir import check_data

FLAGS = new_flags()
WORKDIR = flags.DEFINE_list(
    "workdir", None, "The run, or runs to average.", required=True, flag_values=FLAGS
)
VIEWS = define_views(FLAGS)
CHECKPOINT = define_checkpoint(FLAGS)


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


def describe(result: dict[str, Any]) -> str:
    """A result in a line."""
    return (
        f"top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%} "
        f"({result['examples']} images, {result['views']} view{'s' * (result['views'] > 1)})"
    )


def average(
    workdirs: Sequence[Path],
    views: int | None = None,
    checkpoint: str = "newest",
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The average of the networks that were trained in several folders, on their evaluation split.

    Args:
      workdirs: of runs on the same data; or of a single one.
      views: of each image; None for the first recipe's.
      checkpoint: "newest" or "best".
      before_batch: called before each batch, by those who want to know that it goes on.

    Returns:
      What `evaluate` does, `views`, `split`, the name of the evaluation split, and `steps`, that
      each network was trained for.

    Raises:
      UserError: there is no run in a folder, or they are on different data.
    """
    configs = [read_config(workdir) for workdir in workdirs]
    sources = {(c.data.dataset, c.data.train_split, c.data.eval_split) for c in configs}
    if len(sources) > 1:
        raise UserError(f"workdir: trained on different data: {sorted(sources)}; name such of one")
    mesh = make_mesh(math.gcd(*(c.model.towers for c in configs)), jax.device_count())
    shards = mesh.shape[DATA_AXIS]
    global_batch = -(-configs[0].batch_size // shards) * shards
    rows = local_rows(mesh, global_batch)
    views = views or configs[0].views

    members, steps = [], []
    for workdir, config in zip(workdirs, configs, strict=True):
        classifier = load(workdir, checkpoint=checkpoint, mesh=mesh)
        data = prepare_dataset(**config.data)
        check_data(workdir, data)
        batches = functools.partial(
            eval_batches, data, data.eval_split, global_batch=global_batch, rows=rows
        )
        parts = (classifier.classify(views), classifier.params, classifier.statistics, batches)
        members.append(Member(*parts))
        steps.append(classifier.step)

    def never_stop() -> bool:
        before_batch()
        return False

    result = evaluate(members, mesh, global_batch, never_stop)
    assert result is not None  # nothing asks it to stop
    return {**result, "views": views, "split": data.eval_split, "steps": steps}


def main() -> None:
    workdirs = [Path(name) for name in WORKDIR.value]
    result = average(workdirs, VIEWS.value, CHECKPOINT.value)
    print(f"{result['split']}: {describe(result)}")
    if len(workdirs) == 1:
        _keep(workdirs[0], result)


def _keep(workdir: Path, result: dict[str, Any]) -> None:
    (step,) = result.pop("steps")
    try:
        write_evaluation(workdir, {**result, "step": step})
    except OSError as error:  # it may be evaluated by whoever can read it
        print(f"{workdir}: the result is not kept there: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
