"""The configuration of a run: saved in its directory, and compared with other configurations."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from ..errors import UserError
from ..filesystem import write_json
from ..models.architecture import TRAINING_FIELDS, Architecture
from .defaults import default_config

EARLIER = "earlier_values"  # in config.json: what `adjust_run` has changed
FORMAT = 1
"""Of run directories, checkpoints and results; raise it when older ones can no longer be read."""

# Sections and fields that may change when a run resumes: at most, they change how sums round.
CHANGEABLE = (
    "mesh.",
    "cpu_kernels",
    "accumulate",
    "processes.",
    "log_every",
    "writers",
    "profile",
    "checkpoint_every",
    "data.root",
    "data.tfds_dir",
    "data.cache_gb",
)

# Fields that `adjust_run` may change: they matter only to the steps to come, except with a cosine.
ADJUSTABLE = (
    "duration",
    "stop_after",
    "schedule.learning_rate",
    "schedule.factor",
    "schedule.patience",
    "schedule.max_drops",
    "schedule.boundaries",
)

Difference = tuple[str, Any, Any]
"""A field's full name, such as "data.size", and its two values; "absent" where there is none."""


def write_config(workdir: Path, config: ConfigDict, earlier: Sequence[dict[str, Any]] = ()) -> None:
    """Saves the configuration of a run in its directory, and what `read_earlier_values` returns."""
    fields = {"format": FORMAT, **config.to_dict()}
    write_json(workdir / "config.json", {**fields, EARLIER: earlier} if earlier else fields)


def read_earlier_values(workdir: Path) -> list[dict[str, Any]]:
    """For each change of a run's configuration: `values`, and the `step` until which they held."""
    return read_json(workdir / "config.json").get(EARLIER, [])


def read_config(workdir: Path) -> ConfigDict:
    """Reads the configuration of a run; fields younger than the run get their defaults.

    Raises:
      UserError: the directory has no run, or its configuration is damaged or of another format.
    """
    path = workdir / "config.json"
    if not path.exists():
        if (workdir / "checkpoints").exists():
            raise UserError(f"workdir {workdir}: it has checkpoints but no config.json; restore it")
        runs = [run.parent for glob in ("*", "*/*") for run in workdir.glob(f"{glob}/config.json")]
        hint = f"choose a directory inside, such as {min(runs)}" if runs else "train first"
        raise UserError(f"workdir {workdir}: it has no config.json, so no run; {hint}")
    try:
        fields = _with_tuples(json.loads(path.read_text()))
        check_format(path, fields.pop("format", None))
        fields.pop(EARLIER, None)
        # What networks did before they had this field.
        model = {"dropout_scaling": "training", **fields.pop("model")}
        model = dataclasses.asdict(Architecture.from_config(model))
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"workdir {workdir}: config.json is damaged: {error}") from None
    config = default_config()
    with config.ignore_type():
        config.update(fields)
    config.model = ConfigDict(model)
    return config


def read_json(path: Path) -> Any:
    """Reads a file of a run directory, None if it is missing; UserError if it is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        hint = "restore it from a copy, or remove it and run the command again"
        raise UserError(f"{path}: damaged: {error}; {hint}") from None


def check_format(path: Path, version: Any) -> None:
    """Raises UserError unless this version of the code reads the format of a file."""
    if version != FORMAT:
        written = "without a format, before format 1" if version is None else f"in format {version}"
        raise UserError(f"{path}: written {written}; this version reads only format {FORMAT}")


def differences(first: ConfigDict, second: ConfigDict) -> list[Difference]:
    """The fields that differ, sorted by name."""
    a, b = flatten(first), flatten(second)
    fields = ((name, a.get(name, "absent"), b.get(name, "absent")) for name in sorted(a | b))
    return [field for field in fields if field[1] != field[2]]


def network_differences(first: ConfigDict, second: ConfigDict) -> list[Difference]:
    """The differences of two `config.model` that change what the same weights compute."""
    changes = differences(first, second)
    return [change for change in changes if change[0].split(".")[-1] not in TRAINING_FIELDS]


def describe_differences(differences: list[Difference], section: str = "config") -> str:
    """Says what has changed from the first to the second."""
    changes = (f"{section}.{name} was {old!r} and is {new!r}" for name, old, new in differences)
    return "; ".join(changes)


def forbidden_changes(workdir: Path, config: ConfigDict) -> list[Difference]:
    """The differences between a run and a configuration that cannot resume it.

    A directory of images may have another path; `open_workdir` compares the contents.
    """
    before = read_config(workdir)
    datasets = (before.data.dataset, config.data.dataset)
    if all(name.startswith("folder:") for name in datasets):
        before.data.dataset = config.data.dataset
    changes = differences(before, config)
    return [change for change in changes if not change[0].startswith(CHANGEABLE)]


def flatten(config: ConfigDict) -> dict[str, Any]:
    """The values of a configuration by their full names, such as "data.size"."""
    return flatten_dict(config.to_dict(), sep=".")


def _with_tuples(value: Any) -> Any:
    """JSON has no tuples; configurations have no lists."""
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
