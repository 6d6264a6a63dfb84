"""Trains a network, or goes on with one.

python -m src.main --config=configs/alexnet.py[:DATASET] [--workdir=DIR] [--config.FIELD=VALUE]…
"""

import os
import re
import signal

if __name__ == "__main__":  # else Ctrl-C might get lost in a callback of what is imported below
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from .cli.app import run
from .cli.flags import new_flags
from .distributed.environment import process_info
from .distributed.preemption import exit_on_signal
from .distributed.process_group import ProcessGroup
from .errors import UserError
from .training.loop import train
from .training.validation import validate_config

FLAGS = new_flags()
CONFIG = config_flags.DEFINE_config_file(
    "config", "configs/alexnet.py", "The recipe, FILE[:DATASET].", flag_values=FLAGS
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder. Default: runs/<config>-<dataset>.", flag_values=FLAGS
)


def main() -> int:
    if "variants" in CONFIG.value:
        raise UserError("--config: an experiment, no recipe; python -m src.experiment runs it")
    exit_on_signal()
    validate_config(CONFIG.value)
    with ProcessGroup(process_info(os.environ), CONFIG.value.processes) as group:
        return train(CONFIG.value, Path(WORKDIR.value or default_workdir()), group)


def default_workdir() -> str:
    file, _, argument = config_flags.get_config_filename(FLAGS["config"]).partition(":")
    dataset = CONFIG.value.data.dataset
    variant = f"-{argument}" if argument not in ("", dataset) else ""
    if dataset.startswith("folder:"):
        dataset = Path(dataset.removeprefix("folder:")).resolve().name
    return f"runs/{Path(file).stem}" + re.sub(r"[^\w.]+", "-", f"{variant}-{dataset}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
