"""Trains all runs of an experiment, one after the other, and writes its results."""

import functools
import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from ..training.progress_bar import ProgressBar
from .analysis import describe_results
from .results import DIVERGED, collect_results, epoch_means, to_json
from .spec import Run, SearchResults, measured_runs, search_runs

logger = logging.getLogger(__name__)


def run_experiment(config: ConfigDict, workdir: Path, group: ProcessGroup) -> dict[str, Any] | None:
    """Trains all runs that are not finished yet, and writes the results.

    Args:
      config: see `spec.comparison`.
      workdir: gets results.json, table.md, figure.*, and a run directory for each run.
      group: the processes, each of which calls this.

    Returns:
      The contents of results.json; empty in processes other than the main one; None if preempted.

    Raises:
      UserError: a variant cannot be trained, or a run directory belongs to another run.
    """
    searches, runs = search_runs(config, workdir), measured_runs(config, workdir, {})
    _check_runs([*searches, *(run for run in runs if run.variant not in config.rates)], group)
    datasets = group.first_then_others(
        lambda: {name: prepare_dataset(config.variants[name].data) for name in config.order}
    )
    steps = [_count_steps(run.recipe, datasets[run.variant]) for run in (*searches, *runs)]
    *starts, total = itertools.accumulate(steps, initial=0)
    with ProgressBar(total, shown=group.is_main_process, detailed=False) as bar:

        def train_all(runs: Sequence[Run], first: int) -> bool:
            """Trains runs until one is preempted; returns whether all are finished."""
            statuses = (_train(run, group, bar, i, starts) for i, run in enumerate(runs, first))
            return all(status is Status.FINISHED for status in statuses)

        if not train_all(searches, first=0):
            return None
        # The main process reads first. All losses are written by then.
        lr_search_results = group.first_then_others(lambda: _search_results(searches))
        runs = measured_runs(config, workdir, lr_search_results)
        if not train_all(runs, first=len(searches)):
            return None
        bar.advance_to(total)
        averages = {}
        for name in config.order if config.average else ():
            bar.start_run(f"average of {name}", total)
            averages[name] = _average([r.workdir for r in runs if r.variant == name], group)
    if not group.is_main_process:
        return {}
    split = datasets[config.order[0]].eval_split
    results = collect_results(config, runs, lr_search_results, averages, split)
    (workdir / "results.json").write_text(to_json(results) + "\n")
    (workdir / "table.md").write_text(describe_results(results))
    from ..figures import curves, theme  # which need the extra

    theme.write(lambda: curves.draw(results), workdir / "figure", ("svg", "png"))
    return results


def _check_runs(runs: Sequence[Run], group: ProcessGroup) -> None:
    """Checks the mesh and directory of every run before the first starts."""
    for run in runs:
        recipe = run.recipe  # all processes make its mesh together: JAX waits for their devices
        make_mesh(recipe.mesh, towers=recipe.model.towers, batch_size=recipe.batch_size)
        group.first_then_others(functools.partial(check_workdir, run.workdir, recipe))


def _count_steps(recipe: ConfigDict, dataset: PreparedDataset) -> int:
    return Periods.from_config(recipe, dataset.num_examples[dataset.train_split]).total


def _train(
    run: Run, group: ProcessGroup, bar: ProgressBar, index: int, starts: Sequence[int]
) -> Status:
    """Like `train`, but a run that diverges counts as finished and is not trained again."""
    bar.start_run(f"{index + 1}/{len(starts)} {run.variant}, {run.label}", starts[index])
    reason = run.workdir / DIVERGED
    try:
        if group.first_then_others(lambda: _has_diverged(reason, run.recipe)):
            raise DivergedError(f"{reason.read_text()} ({reason}: remove it to try again)")
        trained = train(run.recipe, run.workdir, group, bar)
    except DivergedError as error:
        logger.warning("%s, %s: %s", run.variant, run.label, error)
        if group.is_main_process and not reason.exists():
            with atomic_write(reason) as incomplete:
                incomplete.write_text(str(error))
        return Status.FINISHED
    logger.info(trained.message)
    return trained.status


def _has_diverged(reason: Path, recipe: ConfigDict) -> bool:
    """Whether the run has diverged before. If its settings were others, removes the reason."""
    if reason.exists() and forbidden_changes(reason.parent, recipe):
        reason.unlink(missing_ok=True)  # another process may have removed it
    return reason.exists()


def _search_results(searches: Sequence[Run]) -> SearchResults:
    losses: dict[str, dict[float, float]] = {}
    for variant, _, recipe, workdir in searches:
        loss = epoch_means(workdir, "loss")[-1][1] if read_result(workdir) else math.inf
        losses.setdefault(variant, {})[recipe.schedule.learning_rate] = loss
    return losses


def _average(workdirs: Sequence[Path], group: ProcessGroup) -> float | None:
    """The top-1 error of the average of the networks that have not diverged; None if all have."""
    finished = group.first_then_others(lambda: list(filter(read_result, workdirs)))
    if not finished:
        return None
    result = evaluate_ensemble(finished, before_batch=group.report_progress)
    group.report_progress(False)
    return result["top1_error"]
