"""Top-1 and top-5 error over a split, of one network or the average of several."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..data.image_files import printable
from ..data.loader import Batch, eval_batches
from ..data.statistics import Statistics
from ..distributed.mesh import local_rows, replicate, to_devices
from ..models.classification import example_metrics
from ..models.factory import Params
from .forward import Forward, Network, make_classify

MAX_COUNTED = 100  # classes of a confusion matrix that a person can read
TOTALS = ("loss", "top1_error", "top5_error", "examples")


class Member(NamedTuple):
    """A network of an ensemble, or the only one."""

    classify: Forward
    params: Params
    statistics: Statistics
    batches: Callable[[], Iterator[Batch]]  # the images as this network was trained on them


def evaluate(
    members: Sequence[Member],
    mesh: Mesh,
    global_batch: int,
    stop: Callable[[], bool | None] = lambda: False,
    confusion: np.ndarray | None = None,
) -> dict[str, float] | None:
    """Averages the members' probabilities of every image; each image counts once on any mesh.

    Args:
      members: networks whose parameters are laid out on the mesh.
      global_batch: images per batch over all processes, as in the members' batches.
      stop: called before each batch.
      confusion: int (classes, classes); if given, the images are counted there by true (row) and
        most probable class.

    Returns:
      `loss` (mean cross-entropy in nats), `top1_error` and `top5_error` (fractions), `examples`; or
      None if `stop` returned true.
    """
    add = _make_add(tuple(member.classify for member in members))
    networks = [(member.params, member.statistics) for member in members]
    zeros: dict[str, Any] = dict.fromkeys(TOTALS, np.float32(0))
    if confusion is not None:
        zeros["confusion"] = np.zeros(confusion.shape, np.int32)
    totals = replicate(mesh, zeros)
    for batches in zip(*(member.batches() for member in members), strict=True):
        if stop():
            return None
        previous = totals
        on_devices = [to_devices(mesh, batch, global_batch) for batch in batches]
        totals = add(totals, networks, on_devices)
        # Keeps at most two batches in flight: on CPUs each waiting batch holds a device's thread,
        # and too many would block the batch that they wait for.
        jax.block_until_ready(previous)
    if confusion is not None:
        confusion += jax.device_get(totals.pop("confusion"))
    values = {name: float(value) for name, value in jax.device_get(totals).items()}
    examples = values.pop("examples")
    means = {name: value / examples for name, value in values.items()}
    return {**means, "examples": int(examples)}


@functools.lru_cache(maxsize=2)  # a run evaluates with one view and with `config.views`
def _make_add(
    classifiers: tuple[Forward, ...],
) -> Callable[..., dict[str, jax.Array]]:
    """Compiles (totals, the networks, a batch for each) → totals with the batch's sums.

    Each batch thus waits for the one before on every device. If batches could overtake each other,
    devices that are threads of few cores would wait in different batches for one another forever.
    """

    def add(
        totals: dict[str, jax.Array],
        networks: list[tuple[Params, Statistics]],
        batches: list[dict[str, jax.Array]],
    ) -> dict[str, jax.Array]:
        inputs = zip(classifiers, networks, batches, strict=True)
        log_p = [classify(p, batch["image"], stats) for classify, (p, stats), batch in inputs]
        labels, mask = batches[0]["label"], batches[0]["mask"]
        mean = jax.nn.logsumexp(jnp.stack(log_p), axis=0) - math.log(len(log_p))
        metrics = example_metrics(mean, jnp.arange(mean.shape[1]), labels)
        sums = {name: (values * mask).sum() for name, values in metrics.items()}
        sums["examples"] = mask.sum()
        if "confusion" in totals:
            pairs = labels, mean.argmax(axis=1)
            counts = mask.astype(jnp.int32)
            sums["confusion"] = jnp.zeros_like(totals["confusion"]).at[pairs].add(counts)
        return jax.tree.map(jnp.add, totals, sums)

    return jax.jit(add)


class Evaluator:
    """Evaluates a network on the evaluation split; call it with the parameters, on the mesh.

    Attributes:
      confusion: of the last evaluation, by true (row) and most probable class; None for more than
        MAX_COUNTED classes.
    """

    confusion: np.ndarray | None = None

    def __init__(self, config: ConfigDict, dataset: PreparedDataset, mesh: Mesh):
        self._classes = len(dataset.class_names)
        network = Network.from_config(config, self._classes)
        self._classify = functools.cache(functools.partial(make_classify, network, mesh))
        self._statistics = replicate(mesh, dataset.statistics)
        split, size = dataset.eval_split, config.batch_size
        self._mesh, self._batch_size = mesh, size
        rows = local_rows(mesh, size)
        self._batches = functools.partial(eval_batches, dataset, split, rows, global_batch=size)

    def __call__(
        self, params: Params, views: int, stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        member = Member(self._classify(views), params, self._statistics, self._batches)
        if self._classes <= MAX_COUNTED:
            self.confusion = np.zeros((self._classes,) * 2, int)
        return evaluate([member], self._mesh, self._batch_size, stop, self.confusion)


def describe_result(result: dict[str, Any]) -> str:
    return (
        f"top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%} "
        f"({result['examples']} images, {result['views']} view{'s' * (result['views'] > 1)})"
    )


def describe_classes(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The images of each class: their number, the top-1 error (None without images), by class."""
    counts = confusion.sum(axis=1)
    return [
        {
            "class": name,
            "examples": int(count),
            "top1_error": 1 - float(row[label] / count) if count else None,
            "predicted": row.tolist(),
        }
        for label, (name, count, row) in enumerate(zip(class_names, counts, confusion, strict=True))
    ]


def class_table(classes: Sequence[dict[str, Any]]) -> str:
    """The result of `describe_classes` as a table; its last columns are the predicted classes."""
    names = [printable(row["class"]) for row in classes]
    table = [["class", "images", "error", *names]]
    for name, row in zip(names, classes, strict=True):
        error = "-" if row["top1_error"] is None else f"{row['top1_error']:.2%}"
        table.append([name, str(row["examples"]), error, *map(str, row["predicted"])])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table
    )
