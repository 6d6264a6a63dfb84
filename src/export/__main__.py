"""A trained network as a file that runs without this project.

python -m src.export --workdir=DIR --out=FOLDER/FILE [--format=jax|savedmodel|onnx]

FOLDER is new or empty. The network takes uint8 images (N, size, size, 3), RGB, of the size that the
training images were prepared at, and gives their classes' probabilities (N, classes). FILE.json
beside it has the classes' names and where the network comes from, README.md is its model card.
"""

import importlib.util
from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..errors import UserError
from .exporting import export_network
from .formats import FORMATS
from .model_card import CARD_NAME

FLAGS = CommandFlags()
WORKDIR = FLAGS.string("workdir", None, "The run whose network to export.", required=True)
OUT = FLAGS.string("out", None, "The file, in a new or empty directory.", required=True)
FORMAT = FLAGS.enum("format", "jax", list(FORMATS), "Format of the file.")
VIEWS = FLAGS.views()
CHECKPOINT = FLAGS.checkpoint()


def main() -> None:
    if FORMAT.value == "onnx" and importlib.util.find_spec("jax2onnx") is None:
        raise UserError('--format=onnx: jax2onnx is missing: pip install -e ".[onnx]"')
    out = Path(OUT.value)
    export_network(Path(WORKDIR.value), out, FORMAT.value, CHECKPOINT.value, VIEWS.value)
    print(f"{out}, with {out.name}.json and the model card {CARD_NAME} beside it")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
