"""Checks a run directory, and locks it during training."""

import contextlib
import functools
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset, identity_of
from ..data.preparation import prepare_dataset
from ..distributed.process_group import ProcessGroup
from ..errors import UserError, list_names
from ..filesystem import names_in
from .config import (
    ADJUSTABLE,
    describe_differences,
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
      UserError: the directory has a run with other settings, has imported weights, has lost its
        checkpoints, or cannot be written to; or there is no run in `config.init_from`.
    """
    existing = next(filter(os.path.lexists, (workdir, *workdir.absolute().parents)))
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"workdir {workdir}: {error.strerror}; give another --workdir") from None
    if not has_begun(workdir):
        if names_in(workdir / EVALUATIONS):  # which need a checkpoint
            raise UserError(
                f"workdir {workdir}: it has evaluations but no checkpoints; restore them, or move "
                "the directory away to start again"
            )
        if config.init_from:
            read_config(Path(config.init_from).expanduser())
        return
    if read_provenance(workdir):
        raise UserError(
            f"workdir {workdir}: it has imported weights; to fine-tune them, give "
            f"--config.init_from={workdir} and another --workdir"
        )
    if changes := forbidden_changes(workdir, config):
        hint = "restore them, or give another --workdir"
        if config.schedule.name == "cosine" and {name for name, *_ in changes} <= set(ADJUSTABLE):
            hint = (
                "the rates of a cosine depend on the duration from the first step; to train on, "
                f"give --config.init_from={workdir} and another --workdir"
            )
        fields = describe_differences(changes)
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


def open_dataset(workdir: Path, section: ConfigDict) -> PreparedDataset:
    """Opens the images that a run was trained on; prepares them if they are not prepared.

    Prepared images do not need the originals, which may have changed. For imported weights, whose
    training images are unknown, opens those of `section`, which is `config.data`.

    Raises:
      UserError: the images are not prepared and missing or other ones now, or their classes are not
        those of imported weights.
    """
    before = read_preprocessing(workdir).dataset
    directory = Path(section.root).expanduser() / before
    if before and directory.exists():
        return PreparedDataset(directory)
    dataset = prepare_dataset(section, check_classes=functools.partial(check_classes, workdir))
    if before:
        check_data(workdir, dataset)
    return dataset


def training_data(workdir: Path, section: ConfigDict) -> PreparedDataset:
    """The images of `section`, which is `config.data`, for a run; prepares them if necessary.

    Where the originals are missing, they are those that the run has begun with.
    """
    own = read_preprocessing(workdir).dataset if has_begun(workdir) else ""
    return prepare_dataset(section, own=own)


def check_classes(workdir: Path, class_names: list[str]) -> None:
    """Raises UserError if images have other classes than a run."""
    expected = read_preprocessing(workdir).class_names
    if class_names == expected:
        return
    differing = sorted(set(expected) ^ set(class_names))
    reason = f"only one has {list_names(differing)}" if differing else "in another order"
    raise UserError(
        f"workdir {workdir}: its {len(expected)} classes are not the {len(class_names)} of the "
        f"images: {reason}; give images of the same classes, or --class_names when converting"
    )


def check_data(workdir: Path, dataset: PreparedDataset) -> None:
    """Raises UserError if the images are not those that the run was trained on."""
    before, now = read_preprocessing(workdir).dataset, dataset.directory.name
    if identity_of(before) != identity_of(now):
        raise UserError(
            f"workdir {workdir}: the run was trained on {before}, but the data set is now {now}; "
            "restore the images, or train in another --workdir"
        )


def _begin(workdir: Path, config: ConfigDict, dataset: PreparedDataset) -> None:
    earlier = []
    if has_begun(workdir):
        check_data(workdir, dataset)
        earlier = read_earlier_values(workdir)
    else:
        write_origin(workdir, config.init_from)
    name, in_train = dataset.directory.name, dataset.in_train
    statistics = dataset.statistics
    write_preprocessing(workdir, Preprocessing(name, dataset.class_names, statistics, in_train))
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
    return (workdir / "result.json").exists() or bool(checkpoint_steps(workdir))


def checkpoint_steps(workdir: Path) -> list[int]:
    """The steps of a run's checkpoints, in no order."""
    return [int(name) for name in names_in(workdir / "checkpoints") if name.isdigit()]
