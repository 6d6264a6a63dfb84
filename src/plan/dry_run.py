"""Checks a run and says what it will need, from a few steps on the devices that are there."""

import math
import shutil
import statistics
import time
from pathlib import Path

import jax
import numpy as np
import psutil
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..cli.text import duration, megabytes
from ..data.dataset import PreparedDataset
from ..data.readers import readers
from ..distributed.devices import platform
from ..distributed.mesh import make_mesh, replicate
from ..distributed.process_group import ProcessGroup
from ..runs.checkpoint import KEPT_NEWEST
from ..runs.config import read_config
from ..runs.workdir import check_workdir, checkpoint_steps, training_data
from ..training.adjustment import possible_changes
from ..training.description import describe_run, labeled
from ..training.initialization import initial_state
from ..training.loop import train_batches
from ..training.loss import make_loss
from ..training.periods import Periods
from ..training.state import abstract_state
from ..training.step import lower_step
from .compiler import total_bytes

STEPS = 5  # that are timed
FORWARD = 1 / 3  # an evaluated image's share of a training image's time


def dry_run(config: ConfigDict, workdir: Path, group: ProcessGroup) -> str:
    """Prepares the images and times a few steps; creates no run directory.

    Args:
      config: a recipe that `validate_config` accepts.
      workdir: the run directory that is meant; it is checked, not made.
      group: all processes of the run; each must call this.

    Returns:
      The run in a few lines: memory, disk, and time that it will take.

    Raises:
      UserError: what would stop training.
    """
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
    group.first_then_others(lambda: _check_workdir(workdir, config))
    dataset = group.first_then_others(lambda: training_data(workdir, config.data))
    periods = Periods.from_config(config, dataset.num_examples[dataset.train_split])
    step = max(checkpoint_steps(workdir), default=0)
    classes = len(dataset.class_names)
    compiled = lower_step(config, classes, mesh, make_loss(config, dataset)).compile()
    seconds = max(
        _seconds_per_step(compiled, config, dataset, mesh),
        _seconds_per_batch(config, dataset, mesh),
    )
    memory = total_bytes(compiled.memory_analysis())
    remaining = periods.total - step
    evaluations = math.ceil(remaining / periods.evaluate_every)
    views = evaluations + config.views  # of the evaluation split's images
    evaluated = views * dataset.num_examples[dataset.eval_split] / config.batch_size
    total = seconds * (remaining + FORWARD * evaluated)
    leaves = jax.tree.leaves(abstract_state(config, classes, mesh))
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    nearest = next(path for path in [workdir, *workdir.absolute().parents] if path.exists())
    free = shutil.disk_usage(nearest).free
    lines = {
        "memory": f"{megabytes(memory)} on each device{_available(mesh, memory)}",
        "disk": f"{megabytes(state)} a checkpoint; the {KEPT_NEWEST} newest and the best are kept: "
        f"{megabytes((KEPT_NEWEST + 1) * state)} of {megabytes(free)} free",
        "time": f"{seconds:.3g} s a step, {config.batch_size / seconds:,.0f} images/s: about "
        f"{duration(total)} with {evaluations} evaluations",
    }
    return f"{describe_run(config, dataset, mesh, periods, step)}\n{labeled(lines)}"


def _check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Accepts what training accepts, which would first adjust an existing run."""
    check_workdir(workdir, read_config(workdir) if possible_changes(workdir, config) else config)


def _seconds_per_step(
    step: jax.stages.Compiled, config: ConfigDict, dataset: PreparedDataset, mesh: Mesh
) -> float:
    """The median time of a step on the devices."""
    state = initial_state(config, dataset.class_names, mesh)
    pixels, times = replicate(mesh, dataset.statistics), []
    batch = next(train_batches(config, dataset, mesh, range(1)))
    for _ in range(1 + STEPS):
        state, metrics = step(state, batch, pixels, np.float32(0))
        jax.block_until_ready(metrics)
        times.append(time.perf_counter())
    return statistics.median(np.diff(times))


def _seconds_per_batch(config: ConfigDict, dataset: PreparedDataset, mesh: Mesh) -> float:
    """The mean time to load a batch, when no step runs and none is loaded ahead."""
    ahead = readers().count + 4  # those in progress, and those that wait
    times = [
        time.perf_counter()
        for _ in train_batches(config, dataset, mesh, range(ahead + STEPS + readers().count))
    ]
    return (times[-1] - times[ahead - 1]) / (len(times) - ahead)


def _available(mesh: Mesh, memory: int) -> str:
    if platform(mesh) == "cpu":
        local = len(mesh.local_devices)
        available = megabytes(psutil.virtual_memory().available)
        return f", {megabytes(local * memory)} for {local} of {available} available"
    limit = (mesh.local_devices[0].memory_stats() or {}).get("bytes_limit", 0)
    return f" of {megabytes(limit)}" if limit else ""
