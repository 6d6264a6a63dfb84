"""The configuration of a run: as kept in its directory, and compared with another one."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..filesystem import write_json
from ..models.architecture import TRAINING_FIELDS, Architecture
from .defaults import default_config

FORMAT = 1
"""Of run directories, checkpoints and results; raise it when an older one can no longer be read."""

# Fields that may change when a run resumes: the trained network does not depend on them.
FREE_TO_CHANGE = (
    "mesh.",
    "processes.",
    "log_every",
    "checkpoint_every",
    "data.root",
    "data.tfds_dir",
)

Difference = tuple[str, Any, Any]
"""A field's full name, such as "data.size", and its two values; "absent" where there is none."""


def write_config(workdir: Path, config: ConfigDict) -> None:
    """Keeps a run's configuration in its directory."""
    write_json(workdir / "config.json", {"format": FORMAT, **config.to_dict()})


def read_config(workdir: Path) -> ConfigDict:
    """The configuration that a run was started with; fields younger than the run get defaults.

    Raises:
      UserError: the directory has no run, or one of another format.
    """
    path = workdir / "config.json"
    if not path.exists():
        runs = [
            run.parent for depth in ("*", "*/*") for run in workdir.glob(f"{depth}/{path.name}")
        ]
        hint = f"choose a directory inside, such as {min(runs)}" if runs else "train first"
        raise UserError(f"workdir {workdir}: it has no config.json, so no run; {hint}")
    try:
        fields = _with_tuples(json.loads(path.read_text()))
        check_format(path, fields.pop("format", None))
        model = dataclasses.asdict(Architecture.from_config(fields.pop("model")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"workdir {workdir}: config.json is damaged: {error}") from None
    return ConfigDict({**_with_defaults(fields, default_config().to_dict()), "model": model})


def check_format(path: Path, version: Any) -> None:
    """Raises UserError unless a file has the format that this version reads."""
    if version != FORMAT:
        written = "without a format, before format 1" if version is None else f"in format {version}"
        raise UserError(f"{path}: written {written}; this version reads format {FORMAT} alone")


def differences(one: ConfigDict, other: ConfigDict) -> list[Difference]:
    """The fields that differ."""
    a, b = flatten(one), flatten(other)
    pairs = [(name, a.get(name, "absent"), b.get(name, "absent")) for name in sorted(a | b)]
    return [
        (name, value, other_value) for name, value, other_value in pairs if value != other_value
    ]


def network_differences(one: ConfigDict, other: ConfigDict) -> list[Difference]:
    """The fields of two `config.model` by which the same weights compute something else."""
    return [
        difference
        for difference in differences(one, other)
        if difference[0].rpartition(".")[-1] not in TRAINING_FIELDS
    ]


def forbidden_changes(workdir: Path, config: ConfigDict) -> list[Difference]:
    """The fields of a run that differ in a configuration and must not change when it resumes."""
    changes = differences(read_config(workdir), config)
    return [change for change in changes if not change[0].startswith(FREE_TO_CHANGE)]


def flatten(config: ConfigDict) -> dict[str, Any]:
    """The values of a configuration by their full names, such as "data.size"."""

    def leaves(prefix: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {
            name: leaf
            for key, inner in value.items()
            for name, leaf in leaves(f"{prefix}.{key}" if prefix else key, inner).items()
        }

    return leaves("", config.to_dict())


def _with_defaults(fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    nested = {
        name: _with_defaults(value, defaults[name])
        for name, value in fields.items()
        if isinstance(value, dict) and isinstance(defaults.get(name), dict)
    }
    return {**defaults, **fields, **nested}


def _with_tuples(value: Any) -> Any:
    """JSON has no tuples; configurations have no lists."""
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
