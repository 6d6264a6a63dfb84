"""Top-1 and top-5 error over a whole split, of one network or the average of several.

python -m src.evaluate --workdir=DIR[,DIR…] [--views=1|9|10] [--checkpoint=newest|best]

What it finds of one network is kept in its workdir, for the card of `src.export`.
"""

import sys
from pathlib import Path
from typing import Any

from .cli.app import run
from .cli.flags import CommandFlags
from .inference.ensemble import evaluate_ensemble
from .inference.evaluation import describe_result
from .runs.results import write_evaluation

FLAGS = CommandFlags()
WORKDIR = FLAGS.workdirs("The run, or the runs to average.")
VIEWS = FLAGS.views()
CHECKPOINT = FLAGS.checkpoint()


def main() -> None:
    workdirs = [Path(name) for name in WORKDIR.value]
    result = evaluate_ensemble(workdirs, VIEWS.value, CHECKPOINT.value)
    print(f"{result['split']}: {describe_result(result)}")
    if len(workdirs) == 1:
        _keep(workdirs[0], result)


def _keep(workdir: Path, result: dict[str, Any]) -> None:
    (step,) = result.pop("steps")
    try:
        write_evaluation(workdir, {**result, "step": step})
    except OSError as error:  # it may be evaluated by whoever can read it
        print(f"{workdir}: the result is not kept there: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
