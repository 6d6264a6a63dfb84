"""Top-1 and top-5 error over the evaluation split, of one network or the average of several.

python -m src.evaluate --workdir=DIR[,DIR…] [--views=1|9|10] [--checkpoint=newest|best]

The result of one network is saved in its run directory, for the model card of `src.export`.
"""

import sys
from pathlib import Path

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
        (result["step"],) = result.pop("steps")
        try:
            write_evaluation(workdirs[0], result)
        except OSError as error:  # whoever can read a run may evaluate it
            print(f"{workdirs[0]}: the result is not kept there: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
