"""The configuration of a run as it is kept in its directory."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError

# What may differ when a run goes on, since the trained network does not depend on it.
FREE_TO_CHANGE = (
    "mesh.",
    "processes.",
    "log_every",
    "checkpoint_every",
    "data.root",
    "data.tfds_dir",
)


def forbidden_changes(workdir: Path, config: ConfigDict) -> list[tuple[str, Any, Any]]:
    """As `differences` of the folder's run from a recipe, but for what is free to change."""
    found = differences(read_config(workdir), config)
    return [difference for difference in found if not difference[0].startswith(FREE_TO_CHANGE)]


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


def differences(one: ConfigDict, other: ConfigDict) -> list[tuple[str, Any, Any]]:
    """The fields that differ, by their full names, and what they are in each; or "absent"."""
    a, b = flatten(one), flatten(other)
    pairs = [(name, a.get(name, "absent"), b.get(name, "absent")) for name in sorted(a | b)]
    return [(name, before, now) for name, before, now in pairs if before != now]


def flatten(config: ConfigDict) -> dict[str, Any]:
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
