"""Trains a run, from the start or from its newest checkpoint."""

import contextlib
import dataclasses
import enum
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..data.examples import save_examples
from ..data.loader import TrainLoader
from ..data.pipeline import import_tensorflow
from ..distributed.mesh import local_rows, make_mesh, replicate, to_devices
from ..distributed.preemption import Preemption
from ..distributed.process_group import ProcessGroup
from ..inference.evaluation import Evaluator, describe_result
from ..runs.checkpoint import Checkpointer
from ..runs.metrics_file import keep_metrics, metrics_checksum
from ..runs.results import read_result, write_result
from ..runs.system_info import describe_system
from ..runs.workdir import check_workdir, open_workdir, training_data
from ..writers import Writer, make_writers
from ..writers.pictures import draw_pictures
from .description import describe_run
from .initialization import initial_state
from .loss import make_loss
from .metric_logger import MetricLogger
from .periods import Periods
from .profile import profiled
from .progress_bar import ProgressBar
from .schedule import Schedule, make_schedule
from .state import Progress, TrainState, abstract_state, from_checkpoint, to_checkpoint
from .step import Batch, abstract_inputs, make_train_step

STOPPED = (
    "stopped after step {step} of {total}; everything is saved, run the same command again to "
    "resume"
)
STOPPED_EARLY = (
    "ends after step {step}: no new best in {evaluations} evaluations (config.stop_after); "
    "--checkpoint=best uses the best network"
)


class Status(enum.Enum):
    """How training ended."""

    FINISHED = "finished"
    PREEMPTED = "preempted"  # everything is saved: the same call resumes


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """The outcome of `train`."""

    status: Status
    message: str  # one line for the user
    result: dict[str, Any] | None = None  # content of result.json; None if preempted


def train(
    config: ConfigDict, workdir: Path, group: ProcessGroup, bar: ProgressBar | None = None
) -> TrainResult:
    """Trains until `config.duration`, resuming from the newest checkpoint in `workdir`.

    Args:
      config: a recipe that `validate_config` accepts.
      workdir: the run directory, on a file system that all processes share.
      group: all processes of the run; each must call `train`.
      bar: counts the steps of several runs; by default this run gets its own.

    Raises:
      UserError: the configuration cannot be trained, or `workdir` belongs to another run.
      DivergedError: the loss is no longer finite. The newest checkpoint precedes this, but its
        weights may already be bad. Evaluated checkpoints are good.
    """
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
    # Preparing the images can take hours: check the directory before.
    group.first_then_others(lambda: check_workdir(workdir, config))
    dataset = group.first_then_others(lambda: training_data(workdir, config.data))
    with open_workdir(workdir, config, dataset, group):
        if result := read_result(workdir):
            message = f"{workdir} is finished after {result['epochs']:g} epochs"
            return TrainResult(Status.FINISHED, f"{message}: {describe_result(result)}", result)
        trained = _train(_Run(config, workdir, dataset, mesh, group.is_main_process), group, bar)
        if trained.result and group.is_main_process:
            save_examples(dataset, workdir / "examples")
            write_result(workdir, trained.result)
    return trained


@dataclasses.dataclass(frozen=True)
class _Run:
    """What is trained, on what, and where."""

    config: ConfigDict
    workdir: Path
    dataset: PreparedDataset
    mesh: Mesh
    is_main: bool  # whether this process prints and writes


def _train(run: _Run, group: ProcessGroup, bar: ProgressBar | None) -> TrainResult:
    config, dataset, mesh = run.config, run.dataset, run.mesh
    periods = Periods.from_config(config, dataset.num_examples[dataset.train_split])
    schedule = make_schedule(config.schedule, periods)
    names = dataset.class_names
    train_step = make_train_step(config, len(names), mesh, make_loss(config, dataset))
    like = abstract_state(config, len(names), mesh)
    evaluate = Evaluator(config, dataset, mesh)
    statistics = replicate(mesh, dataset.statistics)
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor())  # for what takes seconds to start
        threads.submit(import_tensorflow)
        compiled = threads.submit(train_step.lower(like, *abstract_inputs(config, mesh)).compile)
        preempted = stack.enter_context(Preemption(group.report_progress))
        checkpointer = stack.enter_context(Checkpointer(run.workdir))
        state, progress = _restore_or_init(run, checkpointer, schedule, like)
        saved = first = int(jax.block_until_ready(state).step)  # else a lack of memory may hang it
        started = time.monotonic() - progress.seconds
        batches = train_batches(config, dataset, mesh, range(first, periods.total))
        batches = stack.enter_context(profiled(batches, first, periods.profile, run.workdir))
        bar = bar or stack.enter_context(ProgressBar(periods.total, shown=run.is_main))
        log = stack.enter_context(_open_log(run, bar, periods, progress, first))
        compiled.result()
        for step in itertools.count(first):
            if periods.evaluates_at(step) and step > progress.evaluated:
                log.flush()
                if metrics := evaluate(state.params, 1, preempted):
                    log.log_evaluation(step, dataset.eval_split, metrics, progress.best_error)
                    log.show(step, draw_pictures(state.params, evaluate.confusion, names))
                    progress.record(step, metrics["top1_error"], schedule)
            stops_early = 0 < config.stop_after <= progress.since_best
            leaving = step == periods.total or stops_early or preempted()
            if step > saved and (leaving or step == progress.best_step or periods.saves_at(step)):
                snapshot = _snapshot(progress, log, run.workdir, started)
                checkpointer.save(to_checkpoint(state, snapshot), progress.best_step)
                saved = step
            if leaving:
                break
            rate = schedule(step)
            state, values = train_step(state, log.wait_for(batches), statistics, np.float32(rate))
            log.log_step(step + 1, rate, values)
            checkpointer.check_for_errors()
        final = None if preempted.is_preempted else evaluate(state.params, config.views, preempted)
        if final is None:
            return TrainResult(Status.PREEMPTED, STOPPED.format(step=step, total=periods.total))
        if stops_early:
            bar.tell(STOPPED_EARLY.format(evaluations=progress.since_best, step=step))
        log.finish(step, final)
    result = {**final, "views": config.views, "step": step, "epochs": periods.epoch(step)}
    return _finished(run, {**result, "seconds": time.monotonic() - started})


def _open_log(
    run: _Run, bar: ProgressBar, periods: Periods, progress: Progress, first: int
) -> MetricLogger:
    """Describes the run and opens its writers; drops metrics from after the restored checkpoint."""
    bar.tell(describe_run(run.config, run.dataset, run.mesh, periods, first))
    bar.advance_to(bar.n + first)
    writers: list[Writer] = []
    if run.is_main:

        def is_kept(line: dict[str, Any]) -> bool:
            return line["step"] <= (first if line["split"] == "train" else progress.evaluated)

        keep_metrics(run.workdir, is_kept, progress.metrics_checksum)
        writers = make_writers(run.workdir, first, run.config, run.mesh)
    classes, pending = len(run.dataset.class_names), progress.pending_metrics
    return MetricLogger(writers, bar, periods, run.config.batch_size, classes, pending)


def _snapshot(progress: Progress, log: MetricLogger, workdir: Path, started: float) -> Progress:
    """The progress to save, after writing all metrics."""
    log.flush()
    return dataclasses.replace(
        progress,
        seconds=time.monotonic() - started,
        pending_metrics=log.pending_metrics(),
        metrics_checksum=metrics_checksum(workdir),
    )


def train_batches(
    config: ConfigDict, dataset: PreparedDataset, mesh: Mesh, steps: range
) -> Iterator[Batch]:
    """The global batches of some steps, on the devices."""
    crop, size = config.model.image_size, config.batch_size
    loader = TrainLoader(dataset, config.augment, crop=crop, global_batch=size, seed=config.seed)
    for batch in loader.batches(local_rows(mesh, size), steps):
        yield to_devices(mesh, batch, size)


def _finished(run: _Run, result: dict[str, Any]) -> TrainResult:
    device = {"device": run.mesh.devices.flat[0].device_kind, "devices": run.mesh.size}
    message = f"finished in {result['seconds']:.0f} s: {describe_result(result)}; see {run.workdir}"
    result = {**result, "machine": {**describe_system(), **device}}
    return TrainResult(Status.FINISHED, message, result)


def _restore_or_init(
    run: _Run, checkpointer: Checkpointer, schedule: Schedule, like: TrainState
) -> tuple[TrainState, Progress]:
    trees = {"params": like.params, "velocity": like.velocity}
    if checkpoint := checkpointer.restore(trees):
        progress = Progress(**checkpoint.progress)
        schedule.restore(progress.schedule)
        return from_checkpoint(checkpoint, like), progress
    state = initial_state(run.config, run.dataset.class_names, run.mesh)
    return state, Progress(schedule.state())
