"""A run directory from others' weights."""

import hashlib
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ..data.sources import find_source
from ..data.statistics import Statistics
from ..distributed.mesh import make_mesh
from ..errors import UserError
from ..models.architecture import Architecture
from ..runs.checkpoint import Checkpointer
from ..runs.config import write_config
from ..runs.preprocessing import Preprocessing, write_preprocessing
from ..runs.provenance import write_provenance
from ..runs.workdir import check_workdir
from ..training.state import Progress, TrainState, abstract_state, to_checkpoint
from .layout import to_towers
from .networks import check
from .weight_files import read, read_mean

# Standard deviations of ImageNet's colors along their principal components, and these, one a
# column: what cuda-convnet2 has, for the color noise of whoever trains on.
IMAGENET_DEVIATIONS = np.array([121.780061, 37.093889, 19.720833], np.float32)
IMAGENET_DIRECTIONS = np.array(
    [
        [-0.563510, -0.712579, 0.417955],
        [-0.576184, -0.023542, -0.816981],
        [-0.592003, 0.701196, 0.397311],
    ],
    np.float32,
)


def import_weights(
    config: ConfigDict,
    path: Path,
    workdir: Path,
    class_names: list[str],
    mean: Path | None = None,
) -> None:
    """Makes a workdir of a file of weights.

    Args:
      config: the recipe of their network.
      path: see `weights.files.read`.
      workdir: where there is no run yet.
      class_names: in the order of the last layer.
      mean: see `weights.files.read_mean`.

    Raises:
      UserError: the file is not as it should be or not of the recipe's network, or the workdir has
        a run.
    """
    if (workdir / "config.json").exists():
        raise UserError(f"workdir {workdir}: it has a network already; give another --workdir")
    check_workdir(workdir, config)
    weights = read(path)
    check(config.model, weights.recipes)
    architecture = Architecture.from_config(config.model)
    params = to_towers(weights.layers, architecture, len(class_names))
    size = config.data.size
    image = read_mean(mean, size) if mean else weights.mean
    statistics = Statistics(
        np.broadcast_to(image, (size, size, 3)), IMAGENET_DEVIATIONS, IMAGENET_DIRECTIONS
    )
    provenance = {
        "kind": weights.kind,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    write_preprocessing(workdir, Preprocessing("", class_names, statistics))
    write_config(workdir, config)
    write_provenance(workdir, provenance)
    mesh = make_mesh(None, towers=config.model.towers)
    like = abstract_state(config, len(class_names), mesh)
    state = TrainState(
        jnp.zeros((), jnp.int32),
        jax.tree.map(lambda array, leaf: jax.device_put(array, leaf.sharding), params, like.params),
        jax.tree.map(lambda leaf: jnp.zeros_like(leaf, device=leaf.sharding), like.velocity),
    )
    with Checkpointer(workdir) as checkpointer:
        checkpointer.save(to_checkpoint(state, Progress(schedule={})))


def class_names_of(config: ConfigDict) -> list[str]:
    return find_source(config.data).class_names()


def read_class_names(path: Path) -> list[str]:
    """The classes' names in a file, one a line.

    Raises:
      UserError: it can't be read, or two have the same name.
    """
    try:
        names = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class_names={path}: {error}") from None
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(
                f"--class_names={path}: {count} classes are called {name!r}; give each its own name"
            )
    return names
