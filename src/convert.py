"""Weights from other programs, and for them.

python -m src.convert --config=RECIPE --weights=FILE --workdir=DIR [--class_names=FILE]
python -m src.convert --workdir=DIR --to=FILE.safetensors

The first makes of FILE, which is torchvision's AlexNet (.pth, .safetensors) or Caffe's
(.caffemodel, .npy), a workdir as if it had been trained here; RECIPE is that of its network:
configs/torchvision.py, configs/bvlc_alexnet.py or configs/caffenet.py. The second writes the
network of a workdir for PyTorch: see docs/alexnet_torch.py.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags
from safetensors.numpy import save

from src.cli.app import run
from src.cli.flags import define_checkpoint, new_flags
from src.data.sources import find_source
from src.data.statistics import Statistics
from src.distributed.mesh import make_mesh
from src.errors import UserError
from src.filesystem import atomic_write, check_writable
from src.inference.classifier import load
from src.models.architecture import Architecture
from src.runs.checkpoint import Checkpointer
from src.runs.preprocessing import Preprocessing
from src.runs.provenance import write_imported
from src.runs.workdir import check_workdir
from src.training.state import Progress, TrainState, abstract_state
from src.training.validation import validate_config
from src.weights import files, networks
from src.weights.layout import to_groups, to_towers

# Standard deviations of ImageNet's colours along their principal components, and these, one a
# column: what cuda-convnet2 has, for the colour noise of whoever trains on.
IMAGENET_DEVIATIONS = np.array([121.780061, 37.093889, 19.720833], np.float32)
IMAGENET_DIRECTIONS = np.array(
    [
        [-0.563510, -0.712579, 0.417955],
        [-0.576184, -0.023542, -0.816981],
        [-0.592003, 0.701196, 0.397311],
    ],
    np.float32,
)

FLAGS = new_flags()
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The recipe of the weights' network, FILE[:DATASET].", flag_values=FLAGS
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "To make, or to take the network from.", required=True, flag_values=FLAGS
)
WEIGHTS = flags.DEFINE_string("weights", None, "The file to read.", flag_values=FLAGS)
MEAN = flags.DEFINE_string(
    "mean",
    None,
    "Caffe's mean image, .binaryproto or .npy. Default: the mean of its colours.",
    flag_values=FLAGS,
)
CLASS_NAMES = flags.DEFINE_string(
    "class_names",
    None,
    "A file with the classes' names, one a line. Default: those of the recipe's data set.",
    flag_values=FLAGS,
)
TO = flags.DEFINE_string("to", None, "The .safetensors file to write.", flag_values=FLAGS)
CHECKPOINT = define_checkpoint(FLAGS)


def bring_in(
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
    weights = files.read(path)
    networks.check(config.model, weights.recipes)
    architecture = Architecture.from_fields(config.model.to_dict())
    params = to_towers(weights.layers, architecture, len(class_names))
    size = config.data.size
    image = files.read_mean(mean, size) if mean else weights.mean
    statistics = Statistics(
        np.broadcast_to(image, (size, size, 3)), IMAGENET_DEVIATIONS, IMAGENET_DIRECTIONS
    )
    provenance = {
        "kind": weights.kind,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    write_imported(workdir, config, Preprocessing("", class_names, statistics), provenance)
    mesh = make_mesh(config.model.towers, jax.device_count())
    like = abstract_state(config, len(class_names), mesh)
    state = TrainState(
        jnp.zeros((), jnp.int32),
        jax.tree.map(lambda array, leaf: jax.device_put(array, leaf.sharding), params, like.params),
        jax.tree.map(lambda leaf: jnp.zeros_like(leaf, device=leaf.sharding), like.velocity),
    )
    with Checkpointer(workdir / "checkpoints") as checkpoints:
        checkpoints.save(state, Progress(schedule={}))


def write_out(workdir: Path, path: Path, checkpoint: str) -> None:
    """Writes the network of a workdir as a state dict of PyTorch's, in a safetensors file.

    Its tensors are NAME.weight and NAME.bias of each layer, by groups (`weights.layout`), and
    `mean`, (size, size, 3). Its header has what docs/alexnet_torch.py needs besides.

    Raises:
      UserError: there is no network, or the file can't be written.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"--to={path}: name it .safetensors, which it is")
    check_writable("to", path)
    classifier = load(workdir, checkpoint=checkpoint)
    config = classifier.config
    architecture = Architecture.from_fields(config.model.to_dict())
    layers = to_groups(classifier.params, architecture, len(classifier.class_names))
    tensors = {"mean": np.asarray(classifier.statistics.mean)}
    for name, (weights, biases) in layers.items():
        tensors |= {f"{name}.weight": weights, f"{name}.bias": biases}
    header = {
        "architecture": json.dumps(config.model.to_dict()),
        "class_names": json.dumps(classifier.class_names),
    }
    with atomic_write(path) as incomplete:
        incomplete.write_bytes(save(tensors, header))


def main() -> None:
    workdir = Path(WORKDIR.value)
    if TO.value is not None:
        for flag in (CONFIG, WEIGHTS, MEAN, CLASS_NAMES):
            if flag.present:
                raise UserError(f"--{flag.name}: --to writes the network of --workdir; give either")
        write_out(workdir, Path(TO.value), CHECKPOINT.value)
        print(f"{TO.value}, for docs/alexnet_torch.py")
        return
    if CONFIG.value is None or WEIGHTS.value is None:
        raise UserError("--weights and --config: give both, or --to")
    config = CONFIG.value
    validate_config(config)
    class_names = read_names(Path(CLASS_NAMES.value)) if CLASS_NAMES.value else _names_of(config)
    mean = Path(MEAN.value) if MEAN.value else None
    bring_in(config, Path(WEIGHTS.value), workdir, class_names, mean)
    print(f"{workdir} has the network of {WEIGHTS.value}")


def _names_of(config: ConfigDict) -> list[str]:
    data = config.data
    of_data = find_source(
        data.dataset,
        train_split=data.train_split,
        eval_split=data.eval_split,
        tfds_dir=data.tfds_dir,
    )
    return of_data.class_names()


def read_names(path: Path) -> list[str]:
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


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
