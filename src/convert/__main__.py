"""Imports published weights, and exports a network to PyTorch.

python -m src.convert --config=RECIPE --weights=FILE --workdir=DIR [--class_names=FILE]
python -m src.convert --workdir=DIR --to=FILE.safetensors

The first command creates the run directory DIR from FILE: torchvision's AlexNet (.pth,
.safetensors) or a network of Caffe (.caffemodel, .npy). RECIPE is the recipe of that network:
configs/torchvision.py, configs/bvlc_alexnet.py or configs/caffenet.py. The second command writes
the network of the run DIR for PyTorch: see docs/alexnet_torch.py.
"""

from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..data.sources import find_source
from ..errors import UserError
from ..training.validation import validate_config
from .exporting import export_weights
from .importing import import_weights, read_class_names

FLAGS = CommandFlags()
CONFIG = FLAGS.config(None, "The recipe of the weights' network, FILE[:DATASET].")
WORKDIR = FLAGS.string("workdir", None, "The run directory to create or to read.", required=True)
WEIGHTS = FLAGS.string("weights", None, "The file to read.")
MEAN = FLAGS.string("mean", None, "Caffe's mean image (.binaryproto, .npy). Default: its color.")
CLASS_NAMES = FLAGS.string("class_names", None, "File of class names. Default: the dataset's.")
TO = FLAGS.string("to", None, "The .safetensors file to write.")
CHECKPOINT = FLAGS.checkpoint()


def main() -> None:
    workdir = Path(WORKDIR.value)
    if TO.value is not None:
        for flag in (CONFIG, WEIGHTS, MEAN, CLASS_NAMES):
            if flag.present:
                raise UserError(f"--{flag.name}: it cannot be combined with --to; give only one")
        export_weights(workdir, Path(TO.value), CHECKPOINT.value)
        print(f"wrote {TO.value}, for docs/alexnet_torch.py")
        return
    if CONFIG.value is None or WEIGHTS.value is None:
        raise UserError("--config and --weights: give both, or --to")
    config = CONFIG.value
    validate_config(config)
    names = Path(CLASS_NAMES.value) if CLASS_NAMES.value else None
    class_names = read_class_names(names) if names else find_source(config.data).class_names()
    mean = Path(MEAN.value) if MEAN.value else None
    import_weights(config, Path(WEIGHTS.value), workdir, class_names, mean)
    print(f"wrote the network of {WEIGHTS.value} to {workdir}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
