"""Training, from the first step to the last or on from where it stopped."""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..data.loader import eval_batches, train_batches
from ..data.preparation import prepare_dataset
from ..distributed.mesh import local_rows, make_mesh, replicate, to_devices
from ..distributed.preemption import Preemption
from ..distributed.process_group import ProcessGroup
from ..errors import EXIT_PREEMPTED
from ..inference.evaluation import Member, describe_result, evaluate
from ..inference.forward import make_classify
from ..runs.checkpoint import Checkpointer
from ..runs.results import read_result, write_result
from ..runs.system_info import describe_system
from ..runs.workdir import check_locked, check_workdir, lock_workdir
from .initialization import initial_state
from .metric_logger import MetricLogger
from .periods import is_due, parse_duration
from .progress import ProgressBar
from .schedule import make_schedule
from .state import Progress, TrainState, abstract_state
from .step import make_train_step


def train(
    config: ConfigDict, workdir: Path, group: ProcessGroup, bar: ProgressBar | None = None
) -> int:
    """Trains until `config.duration` is over, going on after the newest checkpoint in `workdir`.

    Args:
      config: a recipe that `settings.check` found nothing wrong with.
      workdir: the run's folder, which all processes see.
      group: the processes, each of which calls this.
      bar: where there are several runs, counts the steps of all; else this one gets its own.

    Returns:
      The exit status: 0 when finished, now or before; `stopping.SAVED` after SIGTERM and its like.

    Raises:
      UserError: the configuration can't be trained, or `workdir` is another one's.
      DivergedError: the loss is not finite any more. The newest checkpoint is from before, though
        its weights may be spoilt already; those that were evaluated are not.
    """
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
    group.first_then_others(lambda: check_workdir(workdir, config))
    data = group.first_then_others(lambda: prepare_dataset(**config.data))
    claim = lock_workdir if group.is_main_process else check_locked
    with contextlib.ExitStack() as held:
        group.first_then_others(
            lambda: held.enter_context(claim(workdir, config, data, group.token))
        )
        say = ProgressBar.write if group.is_main_process else _say_nothing
        if result := read_result(workdir):
            say(
                f"{workdir} is finished after {result['epochs']:g} epochs: {describe_result(result)}"
            )
            return 0
        return _train(config, workdir, group, bar, mesh, data, say)


def steps(config: ConfigDict, data: PreparedDataset) -> int:
    """How many steps `config.duration` is."""
    return math.ceil(parse_duration("config.duration", config.duration, _an_epoch(config, data)))


def _an_epoch(config: ConfigDict, data: PreparedDataset) -> Fraction:
    return Fraction(data.num_examples[data.train_split], config.batch_size)


def _train(
    config: ConfigDict,
    workdir: Path,
    group: ProcessGroup,
    bar: ProgressBar | None,
    mesh: Mesh,
    data: PreparedDataset,
    say: Callable[[str], None],
) -> int:
    batch_size, classes = config.batch_size, len(data.class_names)
    steps_per_epoch, total = _an_epoch(config, data), steps(config, data)
    evaluate_every = parse_duration("config.evaluate_every", config.evaluate_every, steps_per_epoch)
    checkpoint_every = parse_duration(
        "config.checkpoint_every", config.checkpoint_every, steps_per_epoch
    )
    schedule = make_schedule(config, total, steps_per_epoch)
    rows = local_rows(mesh, batch_size)
    statistics = replicate(mesh, data.statistics)
    train_step = make_train_step(config, classes, mesh)
    classify = functools.cache(functools.partial(make_classify, config, classes, mesh))

    def evaluation(state: TrainState, views: int) -> dict[str, float] | None:
        split = functools.partial(
            eval_batches, data, data.eval_split, global_batch=batch_size, rows=rows
        )
        member = Member(classify(views), state.params, statistics, split)
        return evaluate([member], mesh, batch_size, is_asked_to_leave)

    def is_asked_to_leave() -> bool:
        group.report_progress()
        return stop()

    with Preemption() as stop, Checkpointer(workdir / "checkpoints") as checkpoints:
        restored = checkpoints.restore(abstract_state(config, classes, mesh))
        state, progress = restored or (
            initial_state(config, data.class_names, mesh),
            Progress(schedule=schedule.state()),
        )
        schedule.restore(progress.schedule)
        step = saved = int(state.step)
        started = time.monotonic() - progress.seconds
        batches = train_batches(
            data,
            global_batch=batch_size,
            crop=config.model.image_size,
            seed=config.seed,
            rows=rows,
            start_step=step,
            stop_step=total,
            images_per_crop=config.augment.images_per_crop,
            shift=config.augment.shift,
            mirror=config.augment.mirror,
        )
        alone = (
            ProgressBar(total, shown=group.is_main_process)
            if bar is None
            else contextlib.nullcontext(bar)
        )
        with (
            alone as counting,
            MetricLogger(
                workdir,
                config,
                step,
                progress.evaluated,
                total,
                steps_per_epoch,
                classes,
                bar=counting,
                writes=group.is_main_process,
                unlogged=progress.unlogged,
            ) as log,
        ):
            while True:
                is_last = step == total
                if progress.evaluated < step and (is_last or is_due(step, evaluate_every)):
                    log.catch_up()
                    if scores := evaluation(state, views=1):
                        log.evaluation(step, data.eval_split, scores)
                        schedule.observe(scores["top1_error"])
                        progress.evaluated, progress.schedule = step, schedule.state()
                        if scores["top1_error"] < progress.best_error:
                            progress.best_error, progress.best_step = scores["top1_error"], step
                is_leaving = is_last or is_asked_to_leave()
                is_best = progress.best_step == step
                if saved < step and (is_leaving or is_best or is_due(step, checkpoint_every)):
                    log.catch_up()
                    progress.seconds = time.monotonic() - started
                    progress.unlogged = log.unlogged()
                    checkpoints.save(state, progress)
                    saved = step
                if is_leaving:
                    break
                batch = to_devices(mesh, next(batches), batch_size)
                rate = schedule(step)
                state, metrics = train_step(state, batch, statistics, np.float32(rate))
                step += 1
                log.step(step, rate, metrics)

        scores = None if stop.is_preempted else evaluation(state, config.views)
    if scores is None:
        say(f"stopped after step {step} of {total}, all saved; the same command goes on")
        return EXIT_PREEMPTED
    result = {
        **scores,
        "views": config.views,
        "step": step,
        "epochs": float(step / steps_per_epoch),
        "seconds": time.monotonic() - started,
        "machine": {
            **describe_system(),
            "device": mesh.devices.flat[0].device_kind,
            "devices": mesh.size,
        },
    }
    if group.is_main_process:
        write_result(workdir, result)
    say(f"finished in {result['seconds']:.0f} s: {describe_result(result)}; see {workdir}")
    return 0


def _say_nothing(_: str) -> None:
    """What the processes do that are not the first."""
