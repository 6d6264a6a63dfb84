"""Where the weights of a run come from."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..filesystem import write_text
from .config import read_config
from .preprocessing import Preprocessing, write_preprocessing


def write_imported(
    workdir: Path, config: ConfigDict, preprocessing: Preprocessing, provenance: dict[str, str]
) -> None:
    """Makes the folder that of weights from elsewhere, which are to be saved in it.

    Args:
      provenance: what `read_provenance` returns.
    """
    write_preprocessing(workdir, preprocessing)
    write_text(workdir / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
    write_text(workdir / "provenance.json", json.dumps(provenance, indent=2) + "\n")


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


def origin_from(workdir: Path) -> dict[str, Any]:
    """What is kept of another run by one that begins with its weights."""
    return {
        "dataset": read_config(workdir).data.dataset,
        "weights_from": read_provenance(workdir),
        "origin": read_origin(workdir),
    }
