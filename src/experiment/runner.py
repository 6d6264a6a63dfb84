"""Trains every variant of an experiment, one run after the other."""

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
from .analysis import results_table, sentences
from .figure import draw_figure
from .results import DIVERGED, chosen, collect_results, over_an_epoch

SEARCH_SEED = 1000  # the rates are not chosen on the runs that are then measured


class Run(NamedTuple):
    """One training."""

    variant: str
    what: str  # "rate 0.001" or "seed 0"
    recipe: ConfigDict
    folder: Path


def run_experiment(config: ConfigDict, workdir: Path, group: ProcessGroup) -> Status:
    """Trains whatever is not trained yet, one run after the other, and writes the outcome.

    Args:
      config: see `spec.comparison`.
      workdir: its runs are in folders in it.
      group: the processes, each of which calls this.

    Returns:
      Whether it is finished or was preempted, as `train`.

    Raises:
      UserError: a variant can't be trained, or a folder has another's run.
    """
    candidates = list(_candidates(config, workdir))
    known = [name for name in config.order if name not in config.rates]
    _check_folders([*candidates, *_runs(config, known, {}, workdir)], group)
    data = {}
    for name in config.order:
        data[name] = group.first_then_others(
            functools.partial(prepare_dataset, config.variants[name].data)
        )
    begins, total = _begins(config, candidates, data)
    with ProgressBar(total, shown=group.is_main_process) as bar:
        for number, candidate in enumerate(candidates):
            if _train(candidate, group, bar, number, begins) is Status.PREEMPTED:
                return Status.PREEMPTED
        tried = group.first_then_others(
            lambda: _tried(candidates)
        )  # the first has written it all by then
        runs = list(_runs(config, config.order, tried, workdir))
        for number, measured in enumerate(runs, len(candidates)):
            if _train(measured, group, bar, number, begins) is Status.PREEMPTED:
                return Status.PREEMPTED
        bar.advance_to(bar.total)
        folders = {name: [r.folder for r in runs if r.variant == name] for name in config.order}
        averages = _averages(folders, group, bar) if config.average else {}

    if group.is_main_process:
        found = collect_results(config, folders, tried, averages, data[config.order[0]].eval_split)
        (workdir / "results.json").write_text(json.dumps(found, indent=1) + "\n")
        said = f"{results_table(found)}\n{sentences(found)}"
        (workdir / "table.md").write_text(said)
        draw_figure(found, workdir / "figure.png")
        print(f"\n{said}\nsee {workdir}")
    return Status.FINISHED


def _check_folders(runs: Sequence[Run], group: ProcessGroup) -> None:
    """Finds at once what would else stop one of these hours after the first has begun."""
    for _, _, recipe, folder in runs:
        make_mesh(recipe.mesh, towers=recipe.model.towers, batch_size=recipe.batch_size)
        group.first_then_others(functools.partial(check_workdir, folder, recipe))


def _begins(
    config: ConfigDict, candidates: Sequence[Run], data: Mapping[str, PreparedDataset]
) -> tuple[list[int], int]:
    """How many steps there are before each run, and in all."""
    searched = [_total_steps(candidate.recipe, data[candidate.variant]) for candidate in candidates]
    of_a_seed = [_total_steps(config.variants[name], data[name]) for name in config.order]
    *begins, total = itertools.accumulate(searched + of_a_seed * len(config.seeds), initial=0)
    return begins, total


def _total_steps(recipe: ConfigDict, data: PreparedDataset) -> int:
    return Periods.from_config(recipe, data.num_examples[data.train_split]).total


def _train(
    of: Run, group: ProcessGroup, bar: ProgressBar, number: int, begins: Sequence[int]
) -> Status:
    """As `train`, but reports a run that diverges, and does not train it again the next time."""
    bar.start_run(f"{number + 1}/{len(begins)} {of.variant}, {of.what}", begins[number])
    memory = of.folder / DIVERGED
    try:
        if group.first_then_others(functools.partial(_is_remembered, memory, of.recipe)):
            raise DivergedError(f"{memory.read_text()} ({memory}: remove it to try again)")
        trained = train(of.recipe, of.folder, group, bar)
        if group.is_main_process:
            bar.write(trained.message)
        return trained.status
    except DivergedError as error:
        told = f"{of.variant}, {of.what}: {error}"
        if group.is_main_process:
            bar.write(told)
            if not memory.exists():
                with atomic_write(memory) as incomplete:
                    incomplete.write_text(str(error))
        return Status.FINISHED


def _is_remembered(memory: Path, recipe: ConfigDict) -> bool:
    """Whether the run has diverged before; forgets it if that was with other settings."""
    if memory.exists() and forbidden_changes(memory.parent, recipe):
        memory.unlink(missing_ok=True)  # another process may have
    return memory.exists()


def _averages(
    folders: Mapping[str, Sequence[Path]], group: ProcessGroup, bar: ProgressBar
) -> dict[str, float | None]:
    """By variant, the top-1 error of the average of the networks that have not diverged."""
    averages: dict[str, float | None] = dict.fromkeys(folders)
    for name, of_variant in folders.items():
        bar.start_run(f"average of {name}", bar.n)
        if finished := group.first_then_others(functools.partial(_finished, of_variant)):
            averages[name] = evaluate_ensemble(finished, before_batch=group.report_progress)[
                "top1_error"
            ]
    return averages


def _finished(folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if read_result(folder)]


def _candidates(config: ConfigDict, workdir: Path) -> Iterator[Run]:
    for variant in config.order:
        for rate in config.rates.get(variant, ()):
            recipe = config.variants[variant].copy_and_resolve_references()
            recipe.schedule.learning_rate = rate
            recipe.duration = recipe.evaluate_every = config.search
            recipe.seed = SEARCH_SEED
            what = f"rate {rate:g}"
            yield Run(variant, what, recipe, workdir / _slug(variant) / _slug(what))


def _tried(candidates: Sequence[Run]) -> dict[str, dict[float, float]]:
    """By variant and rate, the training loss that it came to; infinite where it diverged."""
    tried: dict[str, dict[float, float]] = {}
    for variant, _, recipe, folder in candidates:
        is_finished = read_result(folder)
        loss = over_an_epoch(folder, "loss")[-1][1] if is_finished else math.inf
        tried.setdefault(variant, {})[recipe.schedule.learning_rate] = loss
    return tried


def _runs(
    config: ConfigDict,
    variants: Sequence[str],
    tried: Mapping[str, Mapping[float, float]],
    workdir: Path,
) -> Iterator[Run]:
    for seed in config.seeds:
        for variant in variants:
            recipe = chosen(config, variant, tried)
            recipe.seed = seed
            yield Run(variant, f"seed {seed}", recipe, workdir / _slug(variant) / f"seed{seed}")


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in name).split())
