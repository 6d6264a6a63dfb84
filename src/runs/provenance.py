"""Where the weights of a run come from: another run, or a file of another program."""

from pathlib import Path
from typing import Any

from ..filesystem import write_json
from .config import read_config, read_json


def write_provenance(workdir: Path, provenance: dict[str, str]) -> None:
    """Marks the run directory as one of imported weights."""
    write_json(workdir / "provenance.json", provenance)


def read_provenance(workdir: Path) -> dict[str, str] | None:
    """The `kind`, `file` and `sha256` of imported weights; None for a trained run.

    `random` names the layers that the file lacks.
    """
    return read_json(workdir / "provenance.json")


def write_origin(workdir: Path, init_from: str) -> None:
    """Marks the run as a trained one, and saves the origin of its first weights.

    `init_from` is a run, or empty; UserError if there is no such run.
    """
    (workdir / "provenance.json").unlink(missing_ok=True)  # of an import that failed
    origin = None
    if init_from:
        first = Path(init_from).expanduser()
        origin = {
            "dataset": read_config(first).data.dataset,
            "weights_from": read_provenance(first),
            "origin": read_origin(first),
        }
    write_json(workdir / "origin.json", origin)


def read_origin(workdir: Path) -> dict[str, Any] | None:
    """The origin of the weights that a run started from; None for random weights.

    Its `dataset`, `weights_from` (what `read_provenance` returns), and its own `origin`.
    """
    return read_json(workdir / "origin.json")
