"""Creates a run directory from published weights."""

import hashlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ..data.statistics import Statistics
from ..distributed.mesh import make_mesh
from ..errors import UserError
from ..models.architecture import Architecture
from ..models.factory import rescale
from ..runs.checkpoint import Checkpointer
from ..runs.config import network_differences, write_config
from ..runs.preprocessing import Preprocessing, write_preprocessing
from ..runs.provenance import write_provenance
from ..runs.workdir import check_workdir
from ..training.state import Progress, TrainState, abstract_state, to_checkpoint
from .tensor_layout import to_towers
from .weight_files import Recipes, read_mean, read_weights

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
    """Creates a run directory from a weights file.

    Args:
      config: the recipe of the weights' network.
      path: the file, as for `weight_files.read_weights`.
      workdir: a directory without a run.
      class_names: in the order of the last layer.
      mean: a mean image, as for `weight_files.read_mean`. Default: the weights' mean color.

    Raises:
      UserError: the file is damaged or has another network, or the directory has a run.
    """
    if (workdir / "config.json").exists():
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
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    write_preprocessing(workdir, Preprocessing("", class_names, statistics))
    write_config(workdir, config)
    write_provenance(workdir, {"kind": weights.kind, "file": path.name, "sha256": sha256})
    state = _initial_state(config, params, len(class_names))
    with Checkpointer(workdir) as checkpointer:
        checkpointer.save(to_checkpoint(state, Progress(schedule={})))


def read_class_names(path: Path) -> list[str]:
    """The class names in a file with one name per line.

    Raises:
      UserError: the file cannot be read, or has a name twice.
    """
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
    all_differences: list[list[str]] = []
    for network in recipes.values():
        differences = [
            f"{name} is {value!r}, theirs {other!r}"
            for name, value, other in network_differences(model, ConfigDict(asdict(network)))
            if name.rpartition(".")[-1] not in SHAPE_FIELDS
        ]
        if not differences:
            return network
        all_differences.append(differences)
    fields = "; ".join(min(all_differences, key=len))
    choices = " or ".join(f"--config={recipe}" for recipe in recipes)
    raise UserError(f"--config: its network is not the weights': {fields}; give {choices}")


def _initial_state(config: ConfigDict, params: dict[str, Any], num_classes: int) -> TrainState:
    """The state before the first step, with these parameters and zero velocity."""
    mesh = make_mesh(None, towers=config.model.towers)
    like = abstract_state(config, num_classes, mesh)
    return TrainState(
        jnp.zeros((), jnp.int32),
        jax.tree.map(lambda array, leaf: jax.device_put(array, leaf.sharding), params, like.params),
        jax.tree.map(lambda leaf: jnp.zeros_like(leaf, device=leaf.sharding), like.velocity),
    )
