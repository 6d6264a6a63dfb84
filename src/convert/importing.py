"""Creates a run directory from published weights."""

import hashlib
import logging
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ..data.statistics import Statistics
from ..distributed.mesh import make_mesh
from ..errors import UserError
from ..models.architecture import Architecture
from ..models.factory import rescale
from ..runs.checkpoint import Checkpointer
from ..runs.config import Difference, describe_differences, network_differences, write_config
from ..runs.lock import lock
from ..runs.preprocessing import Preprocessing, write_preprocessing
from ..runs.provenance import write_provenance
from ..runs.workdir import check_workdir, has_begun
from ..training.state import Progress, TrainState, create_state, to_checkpoint
from .tensor_layout import to_towers
from .weight_files import Recipes, read_mean, read_weights

logger = logging.getLogger(__name__)

# ImageNet's color covariance, for the color noise of later training: the standard deviations along
# the principal components, and the components as columns. Source: cuda-convnet2.
IMAGENET_DEVIATIONS = np.array([121.780061, 37.093889, 19.720833], np.float32)
IMAGENET_DIRECTIONS = np.array(
    [
        [-0.563510, -0.712579, 0.417955],
        [-0.576184, -0.023542, -0.816981],
        [-0.592003, 0.701196, 0.397311],
    ],
    np.float32,
)

# Fields that set the shapes of the weights; `tensor_layout.to_towers` checks these.
SHAPE_FIELDS = ("maps", "size", "units", "image_size", "towers")


def import_weights(
    config: ConfigDict, path: Path, workdir: Path, class_names: list[str], mean: Path | None = None
) -> None:
    """Creates a run directory from a weights file; dense layers that it lacks are random.

    Args:
      config: the recipe of the weights' network.
      path: as for `read_weights`.
      class_names: in the order of the last layer.
      mean: as for `read_mean`. Default: the weights' mean color.

    Raises:
      UserError: the file is damaged or has another network, or the directory has a run, or a
        process is training in it.
    """
    if has_begun(workdir):
        raise UserError(f"workdir {workdir}: it already has a run; give another --workdir")
    check_workdir(workdir, config)
    weights = read_weights(path)
    theirs = _find_network(config.model, weights.recipes)
    architecture = Architecture.from_config(config.model)
    params = to_towers(weights.layers, architecture, len(class_names))
    params = rescale(params, theirs, architecture)
    size = config.data.size
    image = np.broadcast_to(read_mean(mean, size) if mean else weights.mean, (size, size, 3))
    statistics = Statistics(image, IMAGENET_DEVIATIONS, IMAGENET_DIRECTIONS)
    kind = weights.kind
    if random := ", ".join(name for name in architecture.layer_names if name not in params):
        kind += f" without {random}"
        logger.warning("%s are random: train from %s with --config.init_from", random, workdir)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    provenance = {"kind": kind, "file": path.name, "sha256": sha256, "random": random}
    state = _state_with(params, config, len(class_names))
    with lock(workdir, "importing"):
        write_preprocessing(workdir, Preprocessing("", class_names, statistics))
        write_config(workdir, config)
        write_provenance(workdir, provenance)
        with Checkpointer(workdir) as checkpointer:
            checkpointer.save(to_checkpoint(state, Progress(schedule={})))


def read_class_names(path: Path) -> list[str]:
    """The names in a file, one per line; UserError if it cannot be read, or has a name twice."""
    try:
        names = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class_names={path}: {error}") from None
    for name, count in Counter(names).items():
        if count > 1:
            message = f"{count} classes have the name {name!r}; names must be unique"
            raise UserError(f"--class_names={path}: {message}")
    return names


def _find_network(model: ConfigDict, recipes: Recipes) -> Architecture:
    """The network of the recipe that computes the same as `config.model`; UserError without one.

    Shapes do not suffice: they do not depend on a layer's padding, or on the order of pooling and
    normalization.
    """

    def differences(network: Architecture) -> list[Difference]:
        changes = network_differences(ConfigDict(asdict(network)), model)
        return [c for c in changes if c[0].rpartition(".")[-1] not in SHAPE_FIELDS]

    nearest = min(recipes.values(), key=lambda network: len(differences(network)))
    if not differences(nearest):
        return nearest
    fields = describe_differences(differences(nearest), "config.model")
    choices = " or ".join(f"--config={recipe}" for recipe in recipes)
    raise UserError(f"--config: its network is not the weights': {fields}; give {choices}")


def _state_with(params: dict[str, Any], config: ConfigDict, num_classes: int) -> TrainState:
    """The state before the first step, with these parameters in place of the random ones."""
    state = create_state(config, num_classes, make_mesh(None, towers=config.model.towers))
    like = {name: state.params[name] for name in params}
    given = jax.tree.map(lambda array, leaf: jax.device_put(array, leaf.sharding), params, like)
    return replace(state, params=state.params | given)
