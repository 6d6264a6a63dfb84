"""Trains every variant of one comparison, and says what came out.

python -m src.experiment --config=configs/experiments/NAME.py[:DATASET] [--workdir=DIR]

The same command again goes on where it stopped. In the end there are in DIR, by default runs/NAME:
results.json, table.md, figure.png, and a folder for each run.
"""

import importlib.util
import os
from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..distributed.environment import process_info
from ..distributed.preemption import exit_on_signal
from ..distributed.process_group import ProcessGroup
from ..errors import EXIT_PREEMPTED, UserError
from ..training.loop import Status
from .runner import _slug, run_experiment
from .spec import validate_experiment

FLAGS = CommandFlags()
CONFIG = FLAGS.config(None, "The experiment, FILE[:DATASET].", required=True)
WORKDIR = FLAGS.string(
    "workdir", None, "Directory for its runs. Default: runs/<config>[-<dataset>]."
)


def main() -> int:
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError('matplotlib is missing, which draws the figure: pip install -e ".[report]"')
    exit_on_signal()
    config = CONFIG.value
    if "variants" not in config:
        raise UserError("--config: a recipe, no experiment; those are in configs/experiments")
    validate_experiment(config)
    file, _, dataset = FLAGS.config_file.partition(":")
    default = f"runs/{_slug(f'{Path(file).stem} {Path(dataset).name}')}"
    first = config.variants[config.order[0]]
    with ProcessGroup(process_info(os.environ), first.processes) as group:
        status = run_experiment(config, Path(WORKDIR.value or default), group)
    return EXIT_PREEMPTED if status is Status.PREEMPTED else 0


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
