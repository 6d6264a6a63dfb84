"""The folder of a run: what is in it besides checkpoints and logs, and whose it is."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from src.data.dataset import PreparedDataset
from src.data.statistics import Statistics
from src.errors import UserError
from src.filesystem import atomic_write
from src.metrics import read_lines

# What may differ when a run goes on, since the trained network does not depend on it.
FREE_TO_CHANGE = (
    "mesh.",
    "processes.",
    "log_every",
    "checkpoint_every",
    "data.root",
    "data.tfds_dir",
)


CLAIM = "claim"  # locked by the process that trains
EVALUATIONS = "evaluations"  # a file for each step and number of views


class Preprocessing(NamedTuple):
    """What prediction must know of the training data."""

    data: str  # the prepared data set's name; empty where the weights are from elsewhere
    class_names: list[str]
    statistics: Statistics


def check(workdir: Path, config: ConfigDict) -> None:
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
    if found := other_settings(workdir, config):
        differing = [f"config.{name} was {before!r} and is {now!r}" for name, before, now in found]
        raise UserError(
            f"workdir {workdir} was made with other settings: {'; '.join(differing)}; "
            "give the former ones, or another --workdir"
        )


def other_settings(workdir: Path, config: ConfigDict) -> list[tuple[str, Any, Any]]:
    """As `differences` of the folder's run from a recipe, but for what is free to change."""
    found = differences(read_config(workdir), config)
    return [difference for difference in found if not difference[0].startswith(FREE_TO_CHANGE)]


@contextlib.contextmanager
def claimed(workdir: Path, config: ConfigDict, data: PreparedDataset, token: str) -> Iterator[None]:
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
            origin = _origin_in(Path(config.init_from)) if config.init_from else None
            _write(workdir / "origin.json", json.dumps(origin, indent=2) + "\n")
            shutil.rmtree(workdir / EVALUATIONS, ignore_errors=True)  # of a run that was there
        known = Preprocessing(data.directory.name, data.class_names, data.statistics)
        _write_preprocessing(workdir, known)
        _write(workdir / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
        file.truncate(0)
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
        yield


def write_imported(
    workdir: Path, config: ConfigDict, preprocessing: Preprocessing, provenance: dict[str, str]
) -> None:
    """Makes the folder that of weights from elsewhere, which are to be saved in it.

    Args:
      provenance: what `read_provenance` returns.
    """
    _write_preprocessing(workdir, preprocessing)
    _write(workdir / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
    _write(workdir / "provenance.json", json.dumps(provenance, indent=2) + "\n")


@contextlib.contextmanager
def seen_claimed(
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


def read_config(workdir: Path) -> ConfigDict:
    """The configuration that a run was started with.

    Raises:
      UserError: the folder is none of a run's.
    """
    path = workdir / "config.json"
    if not path.exists():
        inside = [
            found.parent for depth in ("*", "*/*") for found in workdir.glob(f"{depth}/{path.name}")
        ]
        hint = f"give one inside, such as {min(inside)}" if inside else "train one first"
        raise UserError(f"workdir {workdir}: no config.json there, so no run; {hint}")
    try:
        return ConfigDict(_with_tuples(json.loads(path.read_text())))
    except ValueError as error:
        raise UserError(f"workdir {workdir}: config.json is damaged: {error}") from None


def _write_preprocessing(workdir: Path, preprocessing: Preprocessing) -> None:
    data, class_names, statistics = preprocessing
    with atomic_write(workdir / "preprocessing.npz") as incomplete, incomplete.open("wb") as file:
        np.savez(file, data=data, class_names=class_names, **statistics._asdict())


def read_preprocessing(workdir: Path) -> Preprocessing:
    """What prediction needs of the data that the run in this folder was trained on."""
    try:
        with np.load(workdir / "preprocessing.npz") as arrays:
            statistics = Statistics(*(arrays[name] for name in Statistics._fields))
            return Preprocessing(str(arrays["data"]), arrays["class_names"].tolist(), statistics)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"workdir {workdir}: preprocessing.npz is missing or damaged: {error}"
        ) from None


def read_result(workdir: Path) -> dict[str, Any] | None:
    """The outcome of a finished run; None of one that is not."""
    path = workdir / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def result_at(workdir: Path, step: int, views: int) -> dict[str, Any] | None:
    """What was found of the network after so many steps, at the end, on the way or later.

    None if nothing; by as many `views` where that was tried. Its `examples` are how many images it
    was evaluated on, where that is known.
    """
    lines = read_lines(workdir)
    on_the_way = [{**line, "views": 1} for line in lines if line["split"] != "train"]
    later = [json.loads(path.read_text()) for path in (workdir / EVALUATIONS).glob("*.json")]
    result = read_result(workdir)
    found = [*([result] if result else []), *later, *reversed(on_the_way)]
    of_step = [values for values in found if values["step"] == step]
    return min(of_step, key=lambda values: values["views"] != views, default=None)


def write_evaluation(workdir: Path, result: dict[str, Any]) -> None:
    """Keeps what was found of a network, in place of what was found before of the same.

    Args:
      result: with its `step` and `views`.

    Raises:
      OSError: the folder can't be written to.
    """
    folder = workdir / EVALUATIONS
    folder.mkdir(exist_ok=True)
    _write(folder / f"{result['step']}-{result['views']}.json", json.dumps(result, indent=2) + "\n")


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Marks the run as finished."""
    _write(workdir / "result.json", json.dumps(result, indent=2) + "\n")


def read_provenance(workdir: Path) -> dict[str, str] | None:
    """Where weights that were not trained here come from: their `kind`, `file` and `sha256`."""
    path = workdir / "provenance.json"
    return json.loads(path.read_text()) if path.exists() else None


def read_origin(workdir: Path) -> dict[str, Any] | None:
    """Of the weights that a run began with; None where it began with none, or it is not known.

    Their `dataset`, `weights_from` (what `read_provenance` returns), and their own `origin`.
    """
    path = workdir / "origin.json"
    return json.loads(path.read_text()) if path.exists() else None


def _origin_in(workdir: Path) -> dict[str, Any]:
    """What is kept of another run by one that begins with its weights."""
    return {
        "dataset": read_config(workdir).data.dataset,
        "weights_from": read_provenance(workdir),
        "origin": read_origin(workdir),
    }


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as incomplete, incomplete.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # else a power failure may leave an empty file of that name


def differences(one: ConfigDict, other: ConfigDict) -> list[tuple[str, Any, Any]]:
    """The fields that differ, by their full names, and what they are in each; or "absent"."""
    a, b = fields(one), fields(other)
    pairs = [(name, a.get(name, "absent"), b.get(name, "absent")) for name in sorted(a | b)]
    return [(name, before, now) for name, before, now in pairs if before != now]


def fields(config: ConfigDict) -> dict[str, Any]:
    """Its values by their full names, such as "data.size"."""

    def leaves(prefix: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {
            name: leaf
            for key, inner in value.items()
            for name, leaf in leaves(f"{prefix}.{key}" if prefix else key, inner).items()
        }

    return leaves("", config.to_dict())


def _with_tuples(value: Any) -> Any:
    """JSON has no tuples; configurations have no lists."""
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
