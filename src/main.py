"""Trains a network, or goes on with one.

python -m src.main --config=configs/alexnet.py[:DATASET] [--workdir=DIR] [--config.FIELD=VALUE]…
"""

import os
import re
import signal

if __name__ == "__main__":  # else Ctrl-C might get lost in a callback of what is imported below
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pathlib import Path

from .cli.app import run
from .cli.flags import CommandFlags
from .distributed.environment import process_info
from .distributed.preemption import exit_on_signal
from .distributed.process_group import ProcessGroup
from .errors import UserError
from .training.loop import train
from .training.validation import validate_config

FLAGS = CommandFlags()
CONFIG = FLAGS.config("configs/alexnet.py", "The recipe, FILE[:DATASET].")
WORKDIR = FLAGS.string("workdir", None, "Run directory. Default: runs/<config>-<dataset>.")


def main() -> int:
    if "variants" in CONFIG.value:
        raise UserError("--config: an experiment, no recipe; python -m src.experiment runs it")
    exit_on_signal()
    validate_config(CONFIG.value)
    with ProcessGroup(process_info(os.environ), CONFIG.value.processes) as group:
        return train(CONFIG.value, Path(WORKDIR.value or default_workdir()), group)


def default_workdir() -> str:
    file, _, argument = FLAGS.config_file.partition(":")
    dataset = CONFIG.value.data.dataset
    variant = f"-{argument}" if argument not in ("", dataset) else ""
    if dataset.startswith("folder:"):
        dataset = Path(dataset.removeprefix("folder:")).resolve().name
    return f"runs/{Path(file).stem}" + re.sub(r"[^\w.]+", "-", f"{variant}-{dataset}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
