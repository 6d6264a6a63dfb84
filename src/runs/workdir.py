"""The directory of a run: checks that a run may use it, and holds it while the run trains."""

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
from .config import differences, forbidden_changes, read_config, write_config
from .lock import is_locked_by, lock
from .preprocessing import Preprocessing, read_preprocessing, write_preprocessing
from .provenance import read_provenance, write_origin
from .results import EVALUATIONS


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Checks that a run can use a directory, which need not exist, before hours of preparing data.

    Raises:
      UserError: it has a run with other settings or imported weights, or cannot be written to, or
        there is no run in `config.init_from`.
    """
    existing = next(filter(os.path.lexists, (workdir, *workdir.absolute().parents)))
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"workdir {workdir}: {error.strerror}; give another --workdir") from None
    if not _has_begun(workdir):
        if config.init_from:
            read_config(Path(config.init_from).expanduser())
        return
    if read_provenance(workdir):
        raise UserError(
            f"workdir {workdir}: it has imported weights; to train from them, give "
            f"--config.init_from={workdir} and another --workdir"
        )
    if changes := forbidden_changes(workdir, config):
        fields = "; ".join(
            f"config.{name} was {old!r} and is {new!r}" for name, old, new in changes
        )
        raise UserError(
            f"workdir {workdir}: its run has other settings: {fields}; restore them, or give "
            "another --workdir"
        )


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
            f"workdir {workdir}: its images were {before} and are {now}: the dataset or its "
            "source has changed; give another --workdir"
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
    if _has_begun(workdir):
        check_data(workdir, dataset)
    else:
        write_origin(workdir, config.init_from)
        shutil.rmtree(workdir / EVALUATIONS, ignore_errors=True)  # of an earlier run
    name = dataset.directory.name
    write_preprocessing(workdir, Preprocessing(name, dataset.class_names, dataset.statistics))
    write_config(workdir, config)


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


def _has_begun(workdir: Path) -> bool:
    """Whether the run has a result or checkpoint; a failed start leaves only the configuration."""
    checkpoints = workdir / "checkpoints"
    saved = checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())
    return (workdir / "config.json").exists() and ((workdir / "result.json").exists() or saved)
