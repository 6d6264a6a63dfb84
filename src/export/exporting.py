"""A trained network as a file that runs without this project."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from ..errors import UserError
from ..inference.classifier import Classifier, load
from ..inference.forward import make_portable
from ..models.factory import parameter_counts
from ..runs.provenance import read_origin, read_provenance
from ..runs.results import result_at
from ..runs.system_info import describe_system
from .formats import BATCH, FORMATS
from .model_card import CARD_NAME, render_card


def export_network(workdir: Path, out: Path, form: str, checkpoint: str, views: int | None) -> None:
    """Writes the network, `out`.json and the model card beside it.

    Args:
      out: in a folder that is not there yet, or empty but for hidden files.
      form: one of FORMATS.
      checkpoint: "newest" or "best".
      views: of each image; None for the recipe's.

    Raises:
      UserError: there is no run in `workdir`, or `out` can't be written.
    """
    _check(out)
    classifier = load(workdir, checkpoint=checkpoint)
    config = classifier.config
    views = views or config.views
    about = _about(workdir, classifier, form, views)
    params, statistics = jax.tree.map(np.asarray, (classifier.params, classifier.statistics))
    network = make_portable(classifier.network, params, statistics, views)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # What is there under its own name is whole.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".incomplete-") as folder:
            incomplete = Path(folder) / out.name
            FORMATS[form](network, config.data.size, incomplete)
            about["sha256"] = _digest(incomplete)
            text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
            incomplete.with_name(f"{out.name}.json").write_text(text)
            incomplete.with_name(CARD_NAME).write_text(render_card(out.name, about))
            for path in Path(folder).iterdir():
                path.rename(out.parent / path.name)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--out={out}: {reason}; give a file in another folder") from None


def _check(out: Path) -> None:
    if not out.name or out.name.startswith(".") or out.name == CARD_NAME:
        raise UserError(f"--out={out}: it is no name for the network's file; give FOLDER/FILE")
    there = sorted(path.name for path in out.parent.glob("[!.]*"))
    if there:
        raise UserError(
            f"--out={out}: {out.parent.absolute()} has {there[0]!r} already; give a file in a "
            "folder that is new or empty, for there will be a model card beside it"
        )


def _about(workdir: Path, classifier: Classifier, form: str, views: int) -> dict[str, Any]:
    size = classifier.config.data.size
    return {
        "format": form,
        "input": {
            "name": "images",
            "type": "uint8",
            "shape": [BATCH, size, size, 3],
            "meaning": "RGB, 0 to 255, short side scaled to the size, center kept",
        },
        "output": {
            "name": "probabilities",
            "type": "float32",
            "shape": [BATCH, len(classifier.class_names)],
        },
        "views": views,
        "class_names": classifier.class_names,
        "parameters": sum(
            parameter_counts(classifier.architecture, len(classifier.class_names)).values()
        ),
        "step": classifier.step,
        "result": result_at(workdir, classifier.step, views),
        "weights_from": read_provenance(workdir),
        "origin": read_origin(workdir),
        "recipe": classifier.config.to_dict(),
        "made_with": describe_system(),
    }


def _digest(path: Path) -> str:
    """Of a file, or of all files in a folder, in the order of their names."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
