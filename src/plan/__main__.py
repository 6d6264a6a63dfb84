"""Predicts memory and speed of training on GPUs that are not present: a modelled bound.

python -m src.plan --config=FILE[:DATASET] --topology=PARTITIONSxHOSTSxGPUS [--gpu=h100] [--compare]
"""

import json
import os
import sys

import jax
import tensorflow_datasets as tfds
from ml_collections import ConfigDict, config_flags

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..data.sources import BUILT_IN, find_source
from ..distributed.mesh import make_mesh
from ..errors import UserError, check_extra
from ..training.validation import validate_config
from . import compiler, gpu, report
from .plan import Workload, compare, make_plan

FLAGS = CommandFlags()
CONFIG = FLAGS.config("configs/alexnet.py:imagenet2012", "The recipe, FILE[:DATASET].")
TOPOLOGY = FLAGS.string("topology", "1x1x2", "PARTITIONSxHOSTSxGPUS; GPUS is per host.")
GPU = FLAGS.string("gpu", "h100", "One of src/plan/gpus/.")
COMPARE = FLAGS.boolean("compare", False, "Compare the possible meshes.")
NETWORK = FLAGS.number("network_gbps", None, "Network bandwidth per GPU across hosts, Gbit/s.")
CLASSES = FLAGS.integer("classes", None, "Classes of the dataset.", lower_bound=1)
EXAMPLES = FLAGS.integer("examples", None, "Training images of the dataset.", lower_bound=1)
JSON = FLAGS.boolean("json", False, "Print a JSON object.")

KNOWN_EXAMPLES = {"imagenet2012": 1_281_167}  # TFDS counts only what it has prepared


def main() -> None:
    if NETWORK.value is not None and not NETWORK.value > 0:  # a lower bound would let nan pass
        raise UserError(f"--network_gbps={NETWORK.value}: must be a positive number")
    check_extra("plan")
    target = gpu.load(GPU.value, NETWORK.value)
    config = CONFIG.value
    validate_config(config)
    if config.accumulate != 1:
        raise UserError(f"config.accumulate: {config.accumulate} parts are not modelled; give 1")
    fit_batch(config, compiler.gpus(target, TOPOLOGY.value))
    workload = Workload(config, *data_size(config.data), target, TOPOLOGY.value)
    plan = make_plan(workload)
    comparison = compare(plan, workload) if COMPARE.value else None
    if JSON.value:
        print(json.dumps({**plan, "compare": comparison}))
        return
    print(report.describe(plan, target, FLAGS.config_file))
    if comparison:
        print("", report.format_comparison(comparison), sep="\n")


def fit_batch(config: ConfigDict, devices: list[jax.Device]) -> None:
    """Takes the recipe's batch size for each data shard if the shards do not divide it.

    A batch size from the command line stays: `make_mesh` refuses it, as in `src.main`.
    """
    if "batch_size" in config_flags.get_override_values(FLAGS.values["config"]):
        return
    mesh = make_mesh(config.mesh, towers=config.model.towers, devices=devices)
    batch_size, shards = config.batch_size, mesh.shape["data"]
    if batch_size % shards:
        config.batch_size *= shards
        print(
            f"config.batch_size: {shards} data shards do not divide the recipe's {batch_size}; "
            f"this plan is for {batch_size} images per data shard, "
            f"--config.batch_size={config.batch_size}",
            file=sys.stderr,
        )


def data_size(section: ConfigDict) -> tuple[int, int | None]:
    """The number of classes and, if known without the data, of training images."""
    classes, examples = CLASSES.value, EXAMPLES.value or KNOWN_EXAMPLES.get(section.dataset)
    if classes and examples:
        return classes, examples
    source = find_source(section)
    classes = classes or len(source.class_names())
    if section.dataset in BUILT_IN or section.dataset.startswith("folder:"):
        train = source.load().train
        return classes, examples or (train and train.num_examples)
    splits = tfds.builder(
        section.dataset, data_dir=os.path.expanduser(section.tfds_dir) or None
    ).info.splits
    split = section.train_split or "train"
    return classes, examples or (splits[split].num_examples if splits else None)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
