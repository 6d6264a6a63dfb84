"""Checks a run directory, and locks it during training."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..distributed.process_group import ProcessGroup
from ..errors import UserError
from .config import (
    ADJUSTABLE,
    differences,
    forbidden_changes,
    read_config,
    read_earlier_values,
    write_config,
)
from .lock import is_locked_by, lock
from .preprocessing import Preprocessing, read_preprocessing, write_preprocessing
from .provenance import read_provenance, write_origin
from .results import EVALUATIONS


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Checks early that a run can use the directory, which need not exist.

    Raises:
      UserError: the directory has a run with other settings, has imported weights, or cannot be
        written to; or there is no run in `config.init_from`.
    """
    existing = next(filter(os.path.lexists, (workdir, *workdir.absolute().parents)))
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"workdir {workdir}: {error.strerror}; give another --workdir") from None
    if not has_begun(workdir):
        if config.init_from:
            read_config(Path(config.init_from).expanduser())
        return
    if read_provenance(workdir):
        raise UserError(
            f"workdir {workdir}: it has imported weights; to fine-tune them, give "
            f"--config.init_from={workdir} and another --workdir"
        )
    if changes := forbidden_changes(workdir, config):
        fields = "; ".join(
            f"config.{name} was {old!r} and is {new!r}" for name, old, new in changes
        )
        hint = "restore them, or give another --workdir"
        if config.schedule.name == "cosine" and {name for name, *_ in changes} <= set(ADJUSTABLE):
            hint = (
                "the rates of a cosine depend on the duration from the first step; to train on, "
                f"give --config.init_from={workdir} and another --workdir"
            )
        raise UserError(f"workdir {workdir}: its run has other settings: {fields}; {hint}")


@contextlib.contextmanager
def open_workdir(
    workdir: Path, config: ConfigDict, dataset: PreparedDataset, group: ProcessGroup
) -> Iterator[None]:
    """Holds the lock of a checked directory, and writes the configuration and preprocessing.

    The main process writes. The other processes then check that they see the same directory.

    Raises:
      UserError: the directory has a run with other images, another process trains in it, there is
        no run in `config.init_from`, or the hosts do not share the directory.
    """
    with contextlib.ExitStack() as stack:

        def enter() -> None:
            if group.is_main_process:
                stack.enter_context(lock(workdir, group.token))
                _begin(workdir, config, dataset)
            else:
                _check_shared(workdir, config, group.token)
                check_data(workdir, dataset)

        group.first_then_others(enter)
        yield


def check_data(workdir: Path, dataset: PreparedDataset) -> None:
    """Raises UserError if the images are not those that the run was trained on.

    For imported weights the training images are unknown, so the classes must be the same.
    """
    before, class_names, _ = read_preprocessing(workdir)
    now = dataset.directory.name
    if before and before != now:
        raise UserError(
            f"workdir {workdir}: the run was trained on {before}, but the data set is now {now}; "
            "give another --workdir"
        )
    if not before and class_names != dataset.class_names:
        old, new = (
            f"{len(names)}, {', '.join(names[:3])}…" for names in (class_names, dataset.class_names)
        )
        raise UserError(
            f"workdir {workdir}: its classes are {old}, those of {now} are {new}; give "
            "--class_names when converting"
        )


def _begin(workdir: Path, config: ConfigDict, dataset: PreparedDataset) -> None:
    earlier = []
    if has_begun(workdir):
        check_data(workdir, dataset)
        earlier = read_earlier_values(workdir)
    else:
        write_origin(workdir, config.init_from)
        shutil.rmtree(workdir / EVALUATIONS, ignore_errors=True)  # of an earlier run
    name = dataset.directory.name
    write_preprocessing(workdir, Preprocessing(name, dataset.class_names, dataset.statistics))
    write_config(workdir, config, earlier)


def _check_shared(workdir: Path, config: ConfigDict, token: str) -> None:
    host = socket.gethostname()
    if not is_locked_by(workdir, token):
        raise UserError(
            f"workdir {workdir}: {host} does not see the file that process 0 just wrote; use a "
            "workdir on a shared file system"
        )
    if differences(read_config(workdir), config):
        raise UserError(
            f"workdir {workdir}: the settings on {host} differ from those of process 0; give all "
            "processes the same settings"
        )


def has_begun(workdir: Path) -> bool:
    """Whether the run has a result or checkpoint; a failed start leaves only the configuration."""
    is_saved = bool(checkpoint_steps(workdir))
    return (workdir / "config.json").exists() and ((workdir / "result.json").exists() or is_saved)


def checkpoint_steps(workdir: Path) -> list[int]:
    """The steps of a run's checkpoints, in no order."""
    return [int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()]
