"""A trained network as a file that runs without this project.

python -m src.export --workdir=DIR --out=FOLDER/FILE [--format=jax|savedmodel|onnx]

FOLDER is new or empty. The network takes uint8 images (N, size, size, 3), RGB, of the size that the
training images were prepared at, and gives their classes' probabilities (N, classes). FILE.json
beside it has the classes' names and where the network comes from, README.md is its model card.
"""

import importlib.util
from pathlib import Path

from absl import flags

from ..cli.app import run
from ..cli.flags import define_checkpoint, define_views, new_flags
from ..errors import UserError
from .exporting import export_network
from .formats import FORMATS
from .model_card import CARD_NAME

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


def main() -> None:
    if FORMAT.value == "onnx" and importlib.util.find_spec("jax2onnx") is None:
        raise UserError('--format=onnx: jax2onnx is missing: pip install -e ".[onnx]"')
    out = Path(OUT.value)
    export_network(Path(WORKDIR.value), out, FORMAT.value, CHECKPOINT.value, VIEWS.value)
    print(f"{out}, with {out.name}.json and the model card {CARD_NAME} beside it")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
