"""Trains every variant of an experiment, one run after the other."""

import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..data.preparation import prepare_dataset
from ..distributed.mesh import make_mesh
from ..distributed.process_group import ProcessGroup
from ..errors import DivergedError
from ..filesystem import atomic_write
from ..inference.ensemble import evaluate_ensemble
from ..runs.config import forbidden_changes
from ..runs.results import read_result
from ..runs.workdir import check_workdir
from ..training.loop import Status, train
from ..training.periods import Periods
from ..training.progress import ProgressBar
from .analysis import report
from .figure import draw_figure
from .results import DIVERGED, collect_results, epoch_means, to_json, train_lines, with_best_rate

SEARCH_SEED = 1000  # the learning rates are not chosen on the runs that are then measured

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExperimentResult:
    """How an experiment ended; the results are those of process 0, unless preempted."""

    status: Status
    results: dict[str, Any] | None = None  # what results.json has
    text: str = ""  # what table.md has


class Run(NamedTuple):
    """One training."""

    variant: str
    label: str  # "rate 0.001" or "seed 0"
    recipe: ConfigDict
    workdir: Path


def run_experiment(config: ConfigDict, workdir: Path, group: ProcessGroup) -> ExperimentResult:
    """Trains all runs that are not finished yet, and writes the results.

    Args:
      config: see `spec.comparison`.
      workdir: gets the results, and a run directory for each run.
      group: the processes, each of which calls this.

    Raises:
      UserError: a variant cannot be trained, or a run directory belongs to another run.
    """
    candidates = list(_search_runs(config, workdir))
    known = [name for name in config.order if name not in config.rates]
    _check_runs([*candidates, *_measured_runs(config, known, {}, workdir)], group)
    datasets = {
        name: group.first_then_others(
            functools.partial(prepare_dataset, config.variants[name].data)
        )
        for name in config.order
    }
    starts, total = _first_steps(config, candidates, datasets)
    with ProgressBar(total, shown=group.is_main_process) as bar:

        def train_all(runs: Sequence[Run], number: int) -> bool:
            for index, run in enumerate(runs, number):
                bar.start_run(
                    f"{index + 1}/{len(starts)} {run.variant}, {run.label}", starts[index]
                )
                if _train(run, group, bar) is Status.PREEMPTED:
                    return False
            return True

        if not train_all(candidates, 0):
            return ExperimentResult(Status.PREEMPTED)
        # Process 0, which reads first, has written all of it by then.
        lr_search_results = group.first_then_others(lambda: _search_results(candidates))
        runs = list(_measured_runs(config, config.order, lr_search_results, workdir))
        if not train_all(runs, len(candidates)):
            return ExperimentResult(Status.PREEMPTED)
        bar.advance_to(bar.total)
        directories = {
            name: [run.workdir for run in runs if run.variant == name] for name in config.order
        }
        averages = _averages(directories, group, bar) if config.average else {}

    if not group.is_main_process:
        return ExperimentResult(Status.FINISHED)
    split = datasets[config.order[0]].eval_split
    results = collect_results(config, directories, lr_search_results, averages, split)
    text = report(results)
    (workdir / "results.json").write_text(to_json(results) + "\n")
    (workdir / "table.md").write_text(text)
    draw_figure(results, workdir / "figure.png")
    return ExperimentResult(Status.FINISHED, results, text)


def slug(name: str) -> str:
    """A name as part of a path."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in name).split())


def _check_runs(runs: Sequence[Run], group: ProcessGroup) -> None:
    """Raises now what would else stop one of these runs hours after the first has begun."""
    for run in runs:
        recipe = run.recipe
        make_mesh(recipe.mesh, towers=recipe.model.towers, batch_size=recipe.batch_size)
        group.first_then_others(functools.partial(check_workdir, run.workdir, recipe))


def _first_steps(
    config: ConfigDict, candidates: Sequence[Run], datasets: Mapping[str, PreparedDataset]
) -> tuple[list[int], int]:
    """The number of steps before each run, and in all."""

    def steps(recipe: ConfigDict, dataset: PreparedDataset) -> int:
        return Periods.from_config(recipe, dataset.num_examples[dataset.train_split]).total

    search = [steps(run.recipe, datasets[run.variant]) for run in candidates]
    per_seed = [steps(config.variants[name], datasets[name]) for name in config.order]
    *starts, total = itertools.accumulate(search + per_seed * len(config.seeds), initial=0)
    return starts, total


def _train(run: Run, group: ProcessGroup, bar: ProgressBar) -> Status:
    """Like `train`, but a run that diverges counts as finished and is not trained again."""
    reason = run.workdir / DIVERGED
    try:
        if group.first_then_others(functools.partial(_has_diverged, reason, run.recipe)):
            raise DivergedError(f"{reason.read_text()} ({reason}: remove it to try again)")
        trained = train(run.recipe, run.workdir, group, bar)
    except DivergedError as error:
        if group.is_main_process:
            logger.warning("%s, %s: %s", run.variant, run.label, error)
            if not reason.exists():
                with atomic_write(reason) as incomplete:
                    incomplete.write_text(str(error))
        return Status.FINISHED
    if group.is_main_process:
        logger.info(trained.message)
    return trained.status


def _has_diverged(reason: Path, recipe: ConfigDict) -> bool:
    """Whether the run has diverged before; with other settings does not count."""
    if reason.exists() and forbidden_changes(reason.parent, recipe):
        reason.unlink(missing_ok=True)  # another process may have removed it
    return reason.exists()


def _averages(
    directories: Mapping[str, Sequence[Path]], group: ProcessGroup, bar: ProgressBar
) -> dict[str, float | None]:
    """By variant, the top-1 error of the average of the networks that have not diverged."""
    averages: dict[str, float | None] = dict.fromkeys(directories)
    for name, paths in directories.items():
        bar.start_run(f"average of {name}", bar.n)
        finished = group.first_then_others(functools.partial(_finished, paths))
        if finished:
            result = evaluate_ensemble(finished, before_batch=group.report_progress)
            averages[name] = result["top1_error"]
    return averages


def _finished(directories: Sequence[Path]) -> list[Path]:
    return [directory for directory in directories if read_result(directory)]


def _search_runs(config: ConfigDict, workdir: Path) -> Iterator[Run]:
    for variant in config.order:
        for rate in config.rates.get(variant, ()):
            recipe = config.variants[variant].copy_and_resolve_references()
            recipe.schedule.learning_rate = rate
            recipe.duration = recipe.evaluate_every = config.search
            recipe.seed = SEARCH_SEED
            label = f"rate {rate:g}"
            yield Run(variant, label, recipe, workdir / slug(variant) / slug(label))


def _search_results(candidates: Sequence[Run]) -> dict[str, dict[float, float]]:
    """By variant and learning rate, the final training loss; infinite where the run diverged."""
    losses: dict[str, dict[float, float]] = {}
    for variant, _, recipe, workdir in candidates:
        finished = read_result(workdir)
        loss = epoch_means(train_lines(workdir), "loss")[-1][1] if finished else math.inf
        losses.setdefault(variant, {})[recipe.schedule.learning_rate] = loss
    return losses


def _measured_runs(
    config: ConfigDict,
    variants: Sequence[str],
    lr_search_results: Mapping[str, Mapping[float, float]],
    workdir: Path,
) -> Iterator[Run]:
    for seed in config.seeds:
        for variant in variants:
            recipe = with_best_rate(config, variant, lr_search_results)
            recipe.seed = seed
            yield Run(variant, f"seed {seed}", recipe, workdir / slug(variant) / f"seed{seed}")
