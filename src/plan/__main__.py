"""Predicts memory and speed of training on GPUs that are not present: a modelled bound.

python -m src.plan --config=FILE[:DATASET] --topology=PARTITIONSxHOSTSxGPUS [--gpu=h100] [--compare]
"""

import json
import sys

import jax
import tensorflow_datasets as tfds
from ml_collections import ConfigDict, config_flags

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..data.sources import find_source
from ..distributed.mesh import make_mesh
from ..errors import UserError
from ..training.validation import validate_config
from . import compiler, gpu, report
from .plan import compare, make_plan

FLAGS = CommandFlags()
CONFIG = FLAGS.config("configs/alexnet.py:imagenet2012", "The recipe, FILE[:DATASET].")
TOPOLOGY = FLAGS.string("topology", "1x1x2", "PARTITIONSxHOSTSxGPUS; GPUS is per host.")
GPU = FLAGS.string("gpu", "h100", "One of src/plan/gpus/.")
COMPARE = FLAGS.boolean("compare", False, "Compare the possible meshes.")
NETWORK = FLAGS.number("network_gbps", None, "Network bandwidth per GPU across hosts, Gbit/s.")
CLASSES = FLAGS.integer("classes", None, "Classes of the dataset.")
EXAMPLES = FLAGS.integer("examples", None, "Training images of the dataset.")
JSON = FLAGS.boolean("json", False, "Print a JSON object.")

KNOWN_EXAMPLES = {"imagenet2012": 1_281_167}  # TFDS counts only what it has prepared


def main() -> None:
    for flag in (NETWORK, CLASSES, EXAMPLES):
        if flag.value is not None and not flag.value > 0:
            raise UserError(f"--{flag.name}={flag.value}: must be a positive number")
    compiler.check_extra()
    target = gpu.load(GPU.value, NETWORK.value)
    config = CONFIG.value
    validate_config(config)
    fit_batch(config, compiler.gpus(target, TOPOLOGY.value))
    classes, examples = data_size(config)
    workload = (config, classes, examples, target, TOPOLOGY.value)
    plan = make_plan(*workload)
    comparison = compare(plan, *workload) if COMPARE.value else None
    if JSON.value:
        print(json.dumps({**plan, "compare": comparison}))
        return
    print(report.describe(plan, target, FLAGS.config_file))
    if comparison:
        print("", report.format_comparison(comparison), sep="\n")


def fit_batch(config: ConfigDict, devices: list[jax.Device]) -> None:
    """Makes the recipe's batch that of a data shard if the shards do not divide it.

    A batch size from the command line stays: `make_mesh` refuses it, as in `src.main`.
    """
    if "batch_size" in config_flags.get_override_values(FLAGS.values["config"]):
        return
    mesh = make_mesh(config.mesh, towers=config.model.towers, devices=devices)
    shards = mesh.shape["data"]
    if config.batch_size % shards:
        print(
            f"config.batch_size: {shards} data shards do not divide the recipe's "
            f"{config.batch_size}; this plan is for {config.batch_size} images a data shard, "
            f"--config.batch_size={config.batch_size * shards}",
            file=sys.stderr,
        )
        config.batch_size *= shards


def data_size(config: ConfigDict) -> tuple[int, int | None]:
    """The number of classes and, if known without the data, of training images."""
    data = config.data
    classes, examples = CLASSES.value, EXAMPLES.value or KNOWN_EXAMPLES.get(data.dataset)
    if classes and examples:
        return classes, examples
    source = find_source(data)
    if data.dataset == "digits" or data.dataset.startswith("folder:"):
        originals = source.load()
        return classes or len(originals.class_names), examples or originals.train.num_examples
    info = tfds.builder(data.dataset, data_dir=data.tfds_dir or None).info
    labels = [f for f in info.features.values() if isinstance(f, tfds.features.ClassLabel)]
    if not classes and len(labels) != 1:
        raise UserError(
            f"--classes: TFDS does not know the number of classes of {data.dataset!r}; give it"
        )
    classes = classes or labels[0].num_classes
    split = data.train_split or "train"
    return classes, examples or (info.splits[split].num_examples if info.splits else None)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
