"""Prepares the dataset of a recipe. Training does the same if the dataset is not prepared.

python -m src.prepare --config=configs/alexnet.py[:DATASET] [--config.FIELD=VALUE]…
"""

from .cli.app import run
from .cli.flags import CommandFlags
from .data.preparation import prepare_dataset
from .training.validation import validate_config

FLAGS = CommandFlags()
CONFIG = FLAGS.config("configs/alexnet.py", "The recipe, FILE[:DATASET].")


def main() -> None:
    validate_config(CONFIG.value)
    data = prepare_dataset(CONFIG.value.data)
    examples = ", ".join(f"{count} for {split}" for split, count in data.num_examples.items())
    print(f"{data.directory}: {len(data.class_names)} classes, {examples}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
