"""The folder of a run: what is in it besides checkpoints and logs, and whose it is."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..errors import UserError
from ..filesystem import write_text
from .config import differences, forbidden_changes, read_config
from .preprocessing import Preprocessing, read_preprocessing, write_preprocessing
from .provenance import origin_from, read_provenance
from .results import EVALUATIONS

CLAIM = "claim"  # locked by the process that trains


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError if the folder has a run with other settings, or can't have one."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=workdir).close()
    except OSError as error:
        raise UserError(f"workdir {workdir}: {error.strerror}; give another --workdir") from None
    if not _has_begun(workdir):
        return
    if read_provenance(workdir):
        raise UserError(
            f"workdir {workdir}: it has weights from elsewhere; train on from them with "
            f"--config.init_from={workdir} and another --workdir"
        )
    if found := forbidden_changes(workdir, config):
        differing = [f"config.{name} was {before!r} and is {now!r}" for name, before, now in found]
        raise UserError(
            f"workdir {workdir} was made with other settings: {'; '.join(differing)}; "
            "give the former ones, or another --workdir"
        )


@contextlib.contextmanager
def lock_workdir(
    workdir: Path, config: ConfigDict, data: PreparedDataset, token: str
) -> Iterator[None]:
    """Makes the folder this run's, with a copy of what prediction needs to know of the data.

    No other can have it meanwhile. A claim of a process that dies is void by itself.

    Args:
      token: of the run, by which its other processes know that they see the same folder.

    Raises:
      UserError: it has a run with other images, or another process is training in it, or there is
        no run in `config.init_from`.
    """
    with (workdir / CLAIM).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"workdir {workdir}: another process is training in it; wait for its end, or give "
                "another --workdir"
            ) from None
        except OSError:  # a file system without locks
            pass
        if _has_begun(workdir):
            check_data(workdir, data)
        else:
            origin = origin_from(Path(config.init_from)) if config.init_from else None
            write_text(workdir / "origin.json", json.dumps(origin, indent=2) + "\n")
            shutil.rmtree(workdir / EVALUATIONS, ignore_errors=True)  # of a run that was there
        known = Preprocessing(data.directory.name, data.class_names, data.statistics)
        write_preprocessing(workdir, known)
        write_text(workdir / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
        file.truncate(0)
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
        yield


@contextlib.contextmanager
def check_locked(
    workdir: Path, config: ConfigDict, data: PreparedDataset, token: str
) -> Iterator[None]:
    """What the other processes do when the first has made the folder this run's.

    Raises:
      UserError: they don't see the same folder, or not the same images.
    """
    claim = workdir / CLAIM
    if not claim.exists() or claim.read_text() != token:
        raise UserError(
            f"workdir {workdir}: on {socket.gethostname()} it has not what process 0 has just "
            "written to it; give a folder that all hosts share"
        )
    if differences(read_config(workdir), config):
        raise UserError(
            f"workdir {workdir}: the settings are others on {socket.gethostname()} than those of "
            "process 0; give all the same"
        )
    check_data(workdir, data)
    yield


def check_data(workdir: Path, data: PreparedDataset) -> None:
    """Raises UserError if the images are not those that the run was trained on.

    Of weights from elsewhere it is not known which those were; then the classes must be the same.
    """
    before, class_names, _ = read_preprocessing(workdir)
    if not before:
        if class_names != data.class_names:
            raise UserError(
                f"workdir {workdir}: its classes are {_few(class_names)}, those of "
                f"{data.directory.name} are {_few(data.class_names)}; give --class_names when "
                "converting"
            )
    elif before != data.directory.name:
        raise UserError(
            f"workdir {workdir}: its images were {before} and are {data.directory.name}; they or "
            "their source have changed since; give another --workdir"
        )


def _few(names: list[str]) -> str:
    return f"{len(names)}, {', '.join(names[:3])}…"


def _has_begun(workdir: Path) -> bool:
    """Whether there is more than settings, which a failed start leaves too."""
    checkpoints = workdir / "checkpoints"
    return (workdir / "config.json").exists() and (
        (workdir / "result.json").exists()
        or (checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir()))
    )
