"""Training, from the first step to the last, or on from the newest checkpoint."""

import contextlib
import dataclasses
import enum
import itertools
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..data.loader import TrainLoader
from ..data.preparation import prepare_dataset
from ..distributed.mesh import local_rows, make_mesh, replicate, to_devices
from ..distributed.preemption import Preemption
from ..distributed.process_group import ProcessGroup
from ..inference.evaluation import Evaluator, describe_result
from ..runs.checkpoint import Checkpointer
from ..runs.metrics_file import keep_metrics
from ..runs.results import read_result, write_result
from ..runs.system_info import describe_system
from ..runs.workdir import check_workdir, open_workdir
from .initialization import initial_state
from .metric_logger import MetricLogger
from .periods import Periods
from .progress import ProgressBar
from .schedule import Schedule, make_schedule
from .state import Progress, TrainState, abstract_state, from_checkpoint, to_checkpoint
from .step import make_train_step
from .writers import Writer, make_writers

logger = logging.getLogger(__name__)


class Status(enum.Enum):
    """How training ended."""

    FINISHED = "finished"
    PREEMPTED = "preempted"  # everything is saved: the same call resumes


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How training ended, and with what."""

    status: Status
    message: str  # the same in a line
    result: dict[str, Any] | None = None  # what result.json has, unless preempted


def train(
    config: ConfigDict, workdir: Path, group: ProcessGroup, bar: ProgressBar | None = None
) -> TrainResult:
    """Trains until `config.duration`, resuming from the newest checkpoint in `workdir`.

    Args:
      config: a recipe that `validate_config` accepts.
      workdir: the run directory, which all processes see.
      group: the processes, each of which calls this.
      bar: counts the steps of several runs; by default this run gets its own.

    Raises:
      UserError: the configuration cannot be trained, or `workdir` belongs to another run.
      DivergedError: the loss is no longer finite. The newest checkpoint is from before, though its
        weights may already be spoiled; those that were evaluated are not.
    """
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
    group.first_then_others(lambda: check_workdir(workdir, config))  # before hours of preparing
    dataset = group.first_then_others(lambda: prepare_dataset(config.data))
    with open_workdir(workdir, config, dataset, group):
        if result := read_result(workdir):
            message = f"{workdir} is finished after {result['epochs']:g} epochs"
            return TrainResult(Status.FINISHED, f"{message}: {describe_result(result)}", result)
        trained = _train(config, workdir, group, bar, dataset, mesh)
        if trained.result and group.is_main_process:
            write_result(workdir, trained.result)
    return trained


def _train(
    config: ConfigDict,
    workdir: Path,
    group: ProcessGroup,
    bar: ProgressBar | None,
    dataset: PreparedDataset,
    mesh: Mesh,
) -> TrainResult:
    periods = Periods.from_config(config, dataset.num_examples[dataset.train_split])
    schedule = make_schedule(config.schedule, periods)
    train_step = make_train_step(config, len(dataset.class_names), mesh)
    evaluate = Evaluator(config, dataset, mesh)
    loader = TrainLoader(
        dataset,
        config.augment,
        crop=config.model.image_size,
        global_batch=config.batch_size,
        seed=config.seed,
    )
    statistics = replicate(mesh, dataset.statistics)

    with Preemption() as preempted, Checkpointer(workdir) as checkpointer:

        def leaves() -> bool:
            group.report_progress()
            return preempted()

        state, progress = _restore_or_init(checkpointer, schedule, config, dataset, mesh)
        saved = first = int(state.step)
        started = time.monotonic() - progress.seconds
        rows = local_rows(mesh, config.batch_size)
        batches = loader.batches(rows, range(first, periods.total))
        with contextlib.ExitStack() as stack:
            if bar is None:
                bar = stack.enter_context(ProgressBar(periods.total, shown=group.is_main_process))
            bar.advance_to(bar.n + first)
            writers = _resume_writers(workdir, first, progress) if group.is_main_process else []
            log = stack.enter_context(
                MetricLogger(
                    writers,
                    bar,
                    periods,
                    config.batch_size,
                    len(dataset.class_names),
                    progress.pending_metrics,
                )
            )
            for step in itertools.count(first):
                if periods.evaluates_at(step) and step > progress.evaluated:
                    log.flush()
                    if metrics := evaluate(state.params, 1, leaves):
                        log.log_evaluation(step, dataset.eval_split, metrics)
                        schedule.observe(metrics["top1_error"])
                        progress.record(step, metrics["top1_error"], schedule)
                leaving = step == periods.total or leaves()
                is_best = step == progress.best_step
                if step > saved and (leaving or is_best or periods.saves_at(step)):
                    log.flush()
                    progress.seconds = time.monotonic() - started
                    progress.pending_metrics = log.pending_metrics()
                    checkpointer.save(to_checkpoint(state, progress), progress.best_step)
                    saved = step
                if leaving:
                    break
                batch = to_devices(mesh, next(batches), config.batch_size)
                learning_rate = schedule(step)
                state, step_metrics = train_step(
                    state, batch, statistics, np.float32(learning_rate)
                )
                log.log_step(step + 1, learning_rate, step_metrics)

        final = None if preempted.is_preempted else evaluate(state.params, config.views, leaves)
    if final is None:
        message = f"stopped after step {step} of {periods.total}; everything is saved, run the "
        return TrainResult(Status.PREEMPTED, f"{message}same command again to resume")
    result = {
        **final,
        "views": config.views,
        "step": step,
        "epochs": periods.epoch(step),
        "seconds": time.monotonic() - started,
        "machine": {
            **describe_system(),
            "device": mesh.devices.flat[0].device_kind,
            "devices": mesh.size,
        },
    }
    message = f"finished in {result['seconds']:.0f} s: {describe_result(result)}; see {workdir}"
    return TrainResult(Status.FINISHED, message, result)


def _restore_or_init(
    checkpointer: Checkpointer,
    schedule: Schedule,
    config: ConfigDict,
    dataset: PreparedDataset,
    mesh: Mesh,
) -> tuple[TrainState, Progress]:
    like = abstract_state(config, len(dataset.class_names), mesh)
    trees = {"params": like.params, "velocity": like.velocity}
    if checkpoint := checkpointer.restore(trees):
        progress = Progress(**checkpoint.progress)
        schedule.restore(progress.schedule)
        return from_checkpoint(checkpoint, like), progress
    state = initial_state(config, dataset.class_names, mesh)
    return state, Progress(schedule=schedule.state())


def _resume_writers(workdir: Path, step: int, progress: Progress) -> list[Writer]:
    """The writers, without the lines that a killed run wrote after its last checkpoint."""
    keep_metrics(
        workdir,
        lambda line: line["step"] <= (step if line["split"] == "train" else progress.evaluated),
    )
    return make_writers(workdir, step)
