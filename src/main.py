"""Trains a network, or resumes its training.

python -m src.main --config=configs/alexnet.py[:DATASET] [--workdir=DIR] [--config.FIELD=VALUE]…
python -m src.main … --dry_run      checks all, and says what memory, disk and time training needs
"""

import os
import re
import shlex
import signal

if __name__ == "__main__":  # else a callback of the imports below may lose Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pathlib import Path

from .cli.app import run
from .cli.flags import CommandFlags
from .data.sources import dataset_name
from .distributed.environment import process_info
from .distributed.mesh import make_mesh
from .distributed.preemption import exit_on_signal
from .distributed.process_group import ProcessGroup
from .errors import EXIT_PREEMPTED, UserError
from .training.adjustment import adjust_run
from .training.loop import Status, train
from .training.validation import validate_config

FLAGS = CommandFlags()
CONFIG = FLAGS.config("configs/alexnet.py", "The recipe, FILE[:DATASET].")
WORKDIR = FLAGS.string("workdir", None, "Run directory. Default: runs/<config>-<dataset>.")

DRY_RUN = FLAGS.boolean("dry_run", False, "Check all, train a few steps, and keep no run.")

NEXT = """next: python -m src.report --workdir={workdir}
      python -m src.predict --workdir={workdir} {images}"""


def main() -> int:
    if "variants" in CONFIG.value:
        raise UserError("--config: an experiment, not a recipe; run python -m src.experiment")
    exit_on_signal()
    config = CONFIG.value
    validate_config(config)
    workdir = Path(WORKDIR.value or default_workdir())
    with ProcessGroup(process_info(os.environ), config.processes) as group:
        if DRY_RUN.value:
            from .plan.dry_run import dry_run  # whose imports training need not wait for

            needs = dry_run(config, workdir, group)
            if group.is_main_process:
                print(needs)
            return 0
        # A mesh that is not possible is refused before the run directory changes.
        make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
        group.first_then_others(lambda: adjust_run(workdir, config))
        trained = train(config, workdir, group)
        if group.is_main_process:
            print(trained.message)
            if trained.status is Status.FINISHED:
                quoted, has_examples = shlex.quote(str(workdir)), (workdir / "examples").exists()
                images = f"{quoted}/examples/*" if has_examples else "IMAGE …"
                print(NEXT.format(workdir=quoted, images=images))
    return EXIT_PREEMPTED if trained.status is Status.PREEMPTED else 0


def default_workdir() -> str:
    """runs/<config>-<dataset>, with the argument of --config if it is not the dataset."""
    file, _, argument = FLAGS.config_file.partition(":")
    dataset = CONFIG.value.data.dataset
    variant = f"-{argument}" if argument not in ("", dataset) else ""
    name = f"{variant}-{dataset_name(dataset)}"
    return f"runs/{Path(file).stem}" + re.sub(r"[^\w.]+", "-", name)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
