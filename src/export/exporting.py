"""Writes a trained network as a file that runs without this project."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..data.crops import evaluation_views
from ..data.statistics import Statistics
from ..errors import UserError
from ..inference.classifier import Classifier, load
from ..inference.forward import Network
from ..models.factory import Params, parameter_counts
from ..runs.preprocessing import read_preprocessing
from ..runs.provenance import read_origin, read_provenance
from ..runs.results import result_at
from ..runs.system_info import describe_system
from .formats import BATCH, FORMATS
from .model_card import MODEL_CARD, render_model_card


def export_network(workdir: Path, out: Path, form: str, checkpoint: str, views: int | None) -> None:
    """Writes the network to `out`, its metadata to `out`.json, and the model card beside them.

    Args:
      out: a file in a directory that does not exist, or that has only hidden files.
      form: one of FORMATS.
      views: per image, to average; None for the recipe's number.

    Raises:
      UserError: there is no run in `workdir`, or `out` cannot be written.
    """
    _check_output(out)
    classifier = load(workdir, checkpoint=checkpoint)
    views = views or classifier.config.views
    metadata = _metadata(workdir, classifier, form, views)
    params, statistics = jax.tree.map(np.asarray, (classifier.params, classifier.statistics))
    network = make_portable(classifier.network, params, statistics, views)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # No file gets its final name before all files are complete.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".incomplete-") as directory:
            incomplete = Path(directory) / out.name
            FORMATS[form](network, classifier.config.data.size, incomplete)
            metadata["sha256"] = sha256(incomplete)
            text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
            incomplete.with_name(f"{out.name}.json").write_text(text)
            incomplete.with_name(MODEL_CARD).write_text(render_model_card(out.name, metadata))
            for path in Path(directory).iterdir():
                path.rename(out.parent / path.name)
    except OSError as error:
        message = f"{error.strerror or error}; give a file in another directory"
        raise UserError(f"--out={out}: {message}") from None


def make_portable(
    network: Network, params: Params, statistics: Statistics, views: int
) -> Callable[[jax.Array], jax.Array]:
    """The network for one device, with its parameters inside, NumPy arrays of all towers.

    It uses the plainest operations, for translation to other programs: each view is a slice, and
    its part of the mean image is a constant.

    Returns:
      A function from uint8 images (N, size, size, 3) to probabilities, float32 (N, classes). N may
      be a symbolic dimension.
    """
    graph, crop = network.graphdef(), network.architecture.image_size
    offsets, flips = (np.asarray(x) for x in evaluation_views(views, network.margin))
    black = np.zeros((1, *statistics.mean.shape), np.uint8)
    places = zip(offsets, flips, strict=True)
    means = [-np.asarray(network.view(black, statistics, place)) for place in places]

    def probabilities(images: jax.Array) -> jax.Array:
        model = nnx.merge(graph, params)
        crops = []
        for (row, column), flip, mean in zip(offsets.tolist(), flips.tolist(), means, strict=True):
            part = images[:, row : row + crop, column : column + crop]
            crops.append((part[:, :, ::-1] if flip else part).astype(jnp.float32) - mean)
        by_view = jax.lax.map(lambda x: jax.nn.softmax(model.logits(x)), jnp.stack(crops))
        return by_view.mean(axis=0)[:, : network.num_classes]

    return probabilities


def _check_output(out: Path) -> None:
    if not out.name or out.name.startswith(".") or out.name == MODEL_CARD:
        raise UserError(f"--out={out}: it does not name a file; give DIRECTORY/FILE")
    if existing := sorted(path.name for path in out.parent.glob("[!.]*")):
        message = f"{out.parent.absolute()} already has {existing[0]!r}"
        raise UserError(f"--out={out}: {message}; give a file in a new or empty directory")


def _metadata(workdir: Path, classifier: Classifier, form: str, views: int) -> dict[str, Any]:
    size, num_classes = classifier.config.data.size, len(classifier.class_names)
    shape = [BATCH, size, size, 3]
    meaning = "RGB, 0 to 255, short side scaled to the size, center kept"
    return {
        "format": form,
        "input": {"name": "images", "type": "uint8", "shape": shape, "meaning": meaning},
        "output": {"name": "probabilities", "type": "float32", "shape": [BATCH, num_classes]},
        "views": views,
        "class_names": classifier.class_names,
        "parameters": sum(parameter_counts(classifier.architecture, num_classes).values()),
        "step": classifier.step,
        "result": result_at(workdir, classifier.step, views),
        "in_train": read_preprocessing(workdir).in_train,
        "weights_from": read_provenance(workdir),
        "origin": read_origin(workdir),
        "recipe": classifier.config.to_dict(),
        "made_with": describe_system(),
    }


def sha256(path: Path) -> str:
    """The SHA-256 of a file, or of all files in a directory in the order of their names."""
    digest = hashlib.sha256()
    for part in sorted([path, *path.rglob("*")]):
        if part.is_file():
            with part.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)  # continues with the digest
    return digest.hexdigest()
