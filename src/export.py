"""A trained network as a file that runs without this project.

python -m src.export --workdir=DIR --out=FOLDER/FILE [--format=jax|savedmodel|onnx]

FOLDER is new or empty. The network takes uint8 images (N, size, size, 3), RGB, of the size that the
training images were prepared at, and gives their classes' probabilities (N, classes). FILE.json
beside it has the classes' names and where the network comes from, README.md is its model card.
"""

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from absl import flags

from src import card
from src.cli.app import run
from src.cli.flags import define_checkpoint, define_views, new_flags
from src.errors import UserError
from src.inference.classifier import Classifier, load
from src.inference.forward import make_portable
from src.models.factory import parameter_counts
from src.runs.provenance import read_origin, read_provenance
from src.runs.results import result_at
from src.runs.system_info import describe_system

Network = Callable[[jax.Array], jax.Array]

BATCH = "batch"  # the dimension of any size


def to_jax(network: Network, size: int, path: Path) -> None:
    """StableHLO for CPUs and NVIDIA's GPUs, which `jax.export.deserialize` reads."""
    images = jax.ShapeDtypeStruct(
        jax.export.symbolic_shape(f"{BATCH}, {size}, {size}, 3"), jnp.uint8
    )
    exported = jax.export.export(jax.jit(network), platforms=("cpu", "cuda"))(images)
    path.write_bytes(exported.serialize())


def to_savedmodel(network: Network, size: int, path: Path) -> None:
    """TensorFlow's SavedModel, a folder, whose default signature takes `images`."""
    import tensorflow as tf  # takes seconds
    from jax.experimental import jax2tf

    shape = f"({BATCH}, {size}, {size}, 3)"
    converted = jax2tf.convert(network, polymorphic_shapes=[shape], with_gradient=False)
    images = tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")
    module = tf.Module()
    module.probabilities = tf.function(
        lambda images: {"probabilities": converted(images)},
        input_signature=[images],
        autograph=False,
    )
    tf.saved_model.save(module, str(path), signatures=module.probabilities)


def to_onnx(network: Network, size: int, path: Path) -> None:
    """ONNX, from `images` to `probabilities`."""
    import jax2onnx

    images = jax.ShapeDtypeStruct(
        jax.export.symbolic_shape(f"{BATCH}, {size}, {size}, 3"), jnp.uint8
    )
    jax2onnx.to_onnx(
        network,
        [images],
        model_name="alexnet",
        input_names=["images"],
        output_names=["probabilities"],
        return_mode="file",
        output_path=str(path),
        export_mode="web",  # the weights inside
    )


FORMATS = {"jax": to_jax, "savedmodel": to_savedmodel, "onnx": to_onnx}

FLAGS = new_flags()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run whose network it is.", required=True, flag_values=FLAGS
)
OUT = flags.DEFINE_string(
    "out", None, "The file, in a folder that is new or empty.", required=True, flag_values=FLAGS
)
FORMAT = flags.DEFINE_enum("format", "jax", list(FORMATS), "Of the file.", flag_values=FLAGS)
VIEWS = define_views(FLAGS)
CHECKPOINT = define_checkpoint(FLAGS)


def export(workdir: Path, out: Path, form: str, checkpoint: str, views: int | None) -> None:
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
    network = make_portable(config, len(classifier.class_names), params, statistics, views)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # What is there under its own name is whole.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".incomplete-") as folder:
            incomplete = Path(folder) / out.name
            FORMATS[form](network, config.data.size, incomplete)
            about["sha256"] = _digest(incomplete)
            text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
            incomplete.with_name(f"{out.name}.json").write_text(text)
            incomplete.with_name(card.NAME).write_text(card.render(out.name, about))
            for path in Path(folder).iterdir():
                path.rename(out.parent / path.name)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--out={out}: {reason}; give a file in another folder") from None


def _check(out: Path) -> None:
    if not out.name or out.name.startswith(".") or out.name == card.NAME:
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
            "meaning": "RGB, 0 to 255, short side scaled to the size, centre kept",
        },
        "output": {
            "name": "probabilities",
            "type": "float32",
            "shape": [BATCH, len(classifier.class_names)],
        },
        "views": views,
        "class_names": classifier.class_names,
        "parameters": sum(
            parameter_counts(classifier.params, len(classifier.class_names)).values()
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


def main() -> None:
    if FORMAT.value == "onnx" and importlib.util.find_spec("jax2onnx") is None:
        raise UserError('--format=onnx: jax2onnx is missing: pip install -e ".[onnx]"')
    out = Path(OUT.value)
    export(Path(WORKDIR.value), out, FORMAT.value, CHECKPOINT.value, VIEWS.value)
    print(f"{out}, with {out.name}.json and the model card {card.NAME} beside it")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
