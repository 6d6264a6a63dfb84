"""Exports a trained network as a file that runs without this project.

python -m src.export --workdir=DIR --out=DIRECTORY/FILE [--format=jax|savedmodel|onnx]

DIRECTORY must be new or empty. The network maps RGB images, uint8 (N, size, size, 3), to
probabilities (N, classes). `size` is that of the prepared training images. FILE.json has the class
names and the network's origin. README.md is the model card.
"""

from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..errors import check_extra
from .exporting import export_network
from .formats import FORMATS
from .model_card import MODEL_CARD

FLAGS = CommandFlags()
WORKDIR = FLAGS.string("workdir", None, "The run whose network to export.", required=True)
OUT = FLAGS.string("out", None, "The file, in a new or empty directory.", required=True)
FORMAT = FLAGS.enum("format", "jax", list(FORMATS), "Format of the file.")
VIEWS = FLAGS.views()
CHECKPOINT = FLAGS.checkpoint()


def main() -> None:
    if FORMAT.value == "onnx":
        check_extra("onnx")
    out = Path(OUT.value)
    export_network(Path(WORKDIR.value), out, FORMAT.value, CHECKPOINT.value, VIEWS.value)
    print(f"wrote {out}, {out.name}.json and the model card {MODEL_CARD}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
