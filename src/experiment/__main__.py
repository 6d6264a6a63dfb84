"""Trains every variant of one comparison, and says what came out.

python -m src.experiment --config=configs/experiments/NAME.py[:DATASET] [--workdir=DIR]

The same command again goes on where it stopped. In the end there are in DIR, by default runs/NAME:
results.json, table.md, figure.png, and a folder for each run.
"""

import importlib.util
import os
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ..cli.app import run
from ..cli.flags import new_flags
from ..distributed.environment import process_info
from ..distributed.preemption import exit_on_signal
from ..distributed.process_group import ProcessGroup
from ..errors import UserError
from .runner import _slug, run_experiment
from .spec import validate_experiment

FLAGS = new_flags()
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment, FILE[:DATASET].", flag_values=FLAGS
)
flags.mark_flag_as_required("config", FLAGS)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder of its runs. Default: runs/<config>[-<dataset>].",
    flag_values=FLAGS,
)


def main() -> int:
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError('matplotlib is missing, which draws the figure: pip install -e ".[report]"')
    exit_on_signal()
    config = CONFIG.value
    if "variants" not in config:
        raise UserError("--config: a recipe, no experiment; those are in configs/experiments")
    validate_experiment(config)
    file, _, dataset = config_flags.get_config_filename(FLAGS["config"]).partition(":")
    default = f"runs/{_slug(f'{Path(file).stem} {Path(dataset).name}')}"
    first = config.variants[config.order[0]]
    with ProcessGroup(process_info(os.environ), first.processes) as group:
        return run_experiment(config, Path(WORKDIR.value or default), group)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
