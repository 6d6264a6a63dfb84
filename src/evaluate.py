"""Top-1 and top-5 error over the evaluation split, of one network or the average of several.

python -m src.evaluate --workdir=DIR[,DIR…] [--views=1|9|10] [--checkpoint=newest|best]
    [--data=folder:PATH|TFDS_NAME] [--split=test] [--per_class] [--json]

The result of one network and its classes is saved in its run directory, for the model card of
`src.export`.
"""

import json
import sys
from pathlib import Path

from .cli.app import run
from .cli.flags import CommandFlags
from .inference.ensemble import evaluate_ensemble
from .inference.evaluation import class_table, describe_classes, describe_result
from .runs.results import write_evaluation

FLAGS = CommandFlags()
WORKDIR = FLAGS.workdirs("The run, or the runs to average.")
VIEWS = FLAGS.views()
CHECKPOINT = FLAGS.checkpoint()
DATA = FLAGS.string("data", None, "Other images: folder:PATH or a TFDS name. Default: the run's.")
SPLIT = FLAGS.string("split", None, "Another split: test. Default: the run's, or the data's first.")
PER_CLASS = FLAGS.boolean("per_class", False, "Also print each class's error and confusions.")
JSON = FLAGS.boolean("json", False, "Print one JSON object, with each class's result.")


def main() -> None:
    workdirs = [Path(name) for name in WORKDIR.value]
    data = {}
    if DATA.value is not None:
        data = {"dataset": DATA.value, "train_split": "", "eval_split": ""}
    if SPLIT.value is not None:
        data["eval_split"] = SPLIT.value
    result = evaluate_ensemble(
        workdirs, VIEWS.value, CHECKPOINT.value, data=data, counts_classes=True
    )
    classes = describe_classes(result.pop("confusion"), result.pop("class_names"))
    if JSON.value:
        print(json.dumps({**result, "classes": classes}))
    else:
        print(f"{result['split']}: {describe_result(result)}")
        if PER_CLASS.value:
            print(class_table(classes))
    if len(workdirs) == 1:
        (result["step"],) = result.pop("steps")
        fields = ("class", "examples", "top1_error")
        result["classes"] = [{field: row[field] for field in fields} for row in classes]
        try:
            write_evaluation(workdirs[0], result)
        except OSError as error:  # whoever can read a run may evaluate it
            print(f"{workdirs[0]}: the result is not kept there: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
