"""Changes the duration or future learning rates of a run, before it resumes."""

import logging
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..runs.config import ADJUSTABLE, forbidden_changes, read_earlier_values, write_config
from ..runs.lock import lock
from ..runs.provenance import read_provenance
from ..runs.results import evaluation_path, read_result, write_evaluation
from ..runs.workdir import check_data, checkpoint_steps, has_begun, training_data
from .periods import Periods

REOPENING = {"duration", "stop_after"}  # fields whose change lets a finished run go on
logger = logging.getLogger(__name__)


def adjust_run(workdir: Path, config: ConfigDict) -> None:
    """Changes the duration or future learning rates of a run, even a finished one.

    The configuration keeps the earlier values; the result of a finished run moves to its
    evaluations. `check_workdir` rejects all changes that are not possible.

    Raises:
      UserError: see `possible_changes`; or a process is training in the directory.
    """
    changes = possible_changes(workdir, config)
    if not changes:
        return
    step = max(checkpoint_steps(workdir))
    with lock(workdir, "adjusting"):
        if result := read_result(workdir):
            if not evaluation_path(workdir, result).exists():  # which may also count the classes
                write_evaluation(workdir, result)
            (workdir / "result.json").unlink()
        earlier = [*read_earlier_values(workdir), {"step": step, "values": changes}]
        write_config(workdir, config, earlier)
    logger.info("%s: changed from step %d on: %s", workdir, step, ", ".join(changes))


def possible_changes(workdir: Path, config: ConfigDict) -> dict[str, Any]:
    """The fields that `adjust_run` changes, with their earlier values.

    Empty if there is another change too, or the schedule is a cosine.

    Raises:
      UserError: the new duration ends before the newest checkpoint, or the images are other ones.
    """
    steps = checkpoint_steps(workdir)
    if not steps or not has_begun(workdir) or read_provenance(workdir):
        return {}
    changes = {name: before for name, before, _ in forbidden_changes(workdir, config)}
    is_possible = changes.keys() <= set(ADJUSTABLE) and config.schedule.name != "cosine"
    is_too_late = read_result(workdir) and not changes.keys() & REOPENING
    if not changes or not is_possible or is_too_late:
        return {}
    dataset = training_data(workdir, config.data)
    check_data(workdir, dataset)
    total = Periods.from_config(config, dataset.num_examples[dataset.train_split]).total
    if total < max(steps):
        raise UserError(
            f"config.duration: {config.duration!r} ends at step {total}, before the run's step "
            f"{max(steps)}; give a longer one"
        )
    return changes
