"""Trains every variant of an experiment, and compares the results.

python -m src.experiment --config=configs/experiments/NAME.py[:DATASET] [--workdir=DIR]

Run the same command again to resume. At the end DIR, by default runs/NAME[-DATASET], contains
results.json, table.md, figure.svg and figure.png, and a run directory for each run.
"""

import os
from pathlib import Path

from ml_collections import config_flags

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..distributed.environment import process_info
from ..distributed.preemption import exit_on_signal
from ..distributed.process_group import ProcessGroup
from ..errors import EXIT_PREEMPTED, UserError, check_extra
from .analysis import format_results
from .runner import run_experiment
from .spec import slug, validate_experiment

FLAGS = CommandFlags()
CONFIG = FLAGS.config(
    None, "The experiment, FILE[:DATASET].", required=True, directory="configs/experiments"
)
WORKDIR = FLAGS.string("workdir", None, "Directory for the results. Default: runs/NAME[-DATASET].")


def main() -> int:
    check_extra("report")
    exit_on_signal()
    config = CONFIG.value
    if "variants" not in config:
        raise UserError("--config: a recipe, not an experiment; configs/experiments has those")
    if "smoke" in config_flags.get_override_values(FLAGS.values["config"]):
        raise UserError(
            "config.smoke: only the experiment's file can set it, where it shortens the runs too"
        )
    validate_experiment(config)
    file, _, dataset = FLAGS.config_file.partition(":")
    name = slug(f"{Path(file).stem} {Path(dataset).name}")
    workdir = Path(WORKDIR.value or f"runs/{name}")
    processes = config.variants[config.order[0]].processes
    with ProcessGroup(process_info(os.environ), processes) as group:
        results = run_experiment(config, workdir, group)
    if results:
        print(f"\n{format_results(results)}\nsee {workdir}")
    return EXIT_PREEMPTED if results is None else 0


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
