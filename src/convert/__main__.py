"""Weights from other programs, and for them.

python -m src.convert --config=RECIPE --weights=FILE --workdir=DIR [--class_names=FILE]
python -m src.convert --workdir=DIR --to=FILE.safetensors

The first makes of FILE, which is torchvision's AlexNet (.pth, .safetensors) or Caffe's
(.caffemodel, .npy), a workdir as if it had been trained here; RECIPE is that of its network:
configs/torchvision.py, configs/bvlc_alexnet.py or configs/caffenet.py. The second writes the
network of a workdir for PyTorch: see docs/alexnet_torch.py.
"""

from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..errors import UserError
from ..training.validation import validate_config
from .exporting import export_weights
from .importing import class_names_of, import_weights, read_class_names

FLAGS = CommandFlags()
CONFIG = FLAGS.config(None, "The recipe of the weights' network, FILE[:DATASET].")
WORKDIR = FLAGS.string("workdir", None, "The run directory to create or to read.", required=True)
WEIGHTS = FLAGS.string("weights", None, "The file to read.")
MEAN = FLAGS.string(
    "mean", None, "Caffe's mean image, .binaryproto or .npy. Default: the mean of its colors."
)
CLASS_NAMES = FLAGS.string(
    "class_names", None, "File with one class name per line. Default: those of the dataset."
)
TO = FLAGS.string("to", None, "The .safetensors file to write.")
CHECKPOINT = FLAGS.checkpoint()


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
