"""Weights from other programs, and for them.

python -m src.convert --config=RECIPE --weights=FILE --workdir=DIR [--class_names=FILE]
python -m src.convert --workdir=DIR --to=FILE.safetensors

The first makes of FILE, which is torchvision's AlexNet (.pth, .safetensors) or Caffe's
(.caffemodel, .npy), a workdir as if it had been trained here; RECIPE is that of its network:
configs/torchvision.py, configs/bvlc_alexnet.py or configs/caffenet.py. The second writes the
network of a workdir for PyTorch: see docs/alexnet_torch.py.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ..cli.app import run
from ..cli.flags import define_checkpoint, new_flags
from ..errors import UserError
from ..training.validation import validate_config
from .exporting import export_weights
from .importing import class_names_of, import_weights, read_class_names

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
    "Caffe's mean image, .binaryproto or .npy. Default: the mean of its colors.",
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


def main() -> None:
    workdir = Path(WORKDIR.value)
    if TO.value is not None:
        for flag in (CONFIG, WEIGHTS, MEAN, CLASS_NAMES):
            if flag.present:
                raise UserError(f"--{flag.name}: --to writes the network of --workdir; give either")
        export_weights(workdir, Path(TO.value), CHECKPOINT.value)
        print(f"{TO.value}, for docs/alexnet_torch.py")
        return
    if CONFIG.value is None or WEIGHTS.value is None:
        raise UserError("--weights and --config: give both, or --to")
    config = CONFIG.value
    validate_config(config)
    class_names = (
        read_class_names(Path(CLASS_NAMES.value)) if CLASS_NAMES.value else class_names_of(config)
    )
    mean = Path(MEAN.value) if MEAN.value else None
    import_weights(config, Path(WEIGHTS.value), workdir, class_names, mean)
    print(f"{workdir} has the network of {WEIGHTS.value}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
