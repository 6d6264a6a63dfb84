"""What is on images.

python -m src.predict --workdir=DIR[,DIR…] [--views=1|9|10] [--top=5] [--json] IMAGE…
python -m src.predict --workdir=DIR --save_features=FILE.npz [--layer=fc7] IMAGE…

IMAGE is a file, a folder, a pattern like 'photos/**/*.jpg', or - for an image on standard input.
Several runs are an ensemble, whose probabilities are averaged.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .cli.app import run
from .cli.flags import CommandFlags
from .data.image_files import find_images, printable
from .errors import UserError
from .filesystem import atomic_write, check_writable
from .inference.classifier import MAX_BATCH, FileResult, load
from .inference.ensemble import predict_ensemble

FLAGS = CommandFlags(takes_arguments=True)
WORKDIR = FLAGS.workdirs("The run whose network predicts; or several, an ensemble.")
VIEWS = FLAGS.views()
CHECKPOINT = FLAGS.checkpoint()
TOP = FLAGS.integer("top", 5, "How many classes to show.", lower_bound=1)
JSON = FLAGS.boolean("json", False, "Print one JSON object per image.")
FILES_FROM = FLAGS.string("files_from", None, "File with one image name per line; - for stdin.")
SAVE_FEATURES = FLAGS.string("save_features", None, "Write features to this .npz file instead.")
LAYER = FLAGS.string("layer", "fc7", "The layer of --save_features.")

BAR = 24  # characters of a probability of 1
EIGHTHS = " ▏▎▍▌▋▊▉"


def main() -> int:
    """Shows the predictions; 1 if a file could not be read, which does not stop the others."""
    _check_together()
    if SAVE_FEATURES.value is not None:
        if not SAVE_FEATURES.value.endswith(".npz"):
            raise UserError(f"--save_features={SAVE_FEATURES.value}: name it .npz, for NumPy")
        check_writable("save_features", Path(SAVE_FEATURES.value))
        if len(WORKDIR.value) > 1:
            raise UserError(f"--workdir={','.join(WORKDIR.value)}: features are of one network")
    images = find_images(FLAGS.arguments, FILES_FROM.value)
    members = {workdir: load(workdir, checkpoint=CHECKPOINT.value) for workdir in WORKDIR.value}
    first = members[WORKDIR.value[0]]
    originals = [image.original for image in images]
    if SAVE_FEATURES.value is not None:
        of_files = first.file_features(originals, LAYER.value)
    else:
        of_files = predict_ensemble(members, originals, VIEWS.value)

    names, outputs = [], []
    for image, result in zip(images, _with_progress(of_files, len(images)), strict=True):
        if result.output is None:
            tqdm.write(f"error: {printable(image.name)}: {result.error}", file=sys.stderr)
            continue
        names.append(image.name)
        if SAVE_FEATURES.value is not None:
            outputs.append(result.output)
        else:
            show(image.name, result.output, first.class_names)
    if SAVE_FEATURES.value is not None and outputs:
        save(Path(SAVE_FEATURES.value), names, np.stack(outputs))
    return 0 if len(names) == len(images) else 1


def show(name: str, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    """Prints the most probable classes, as a table or as a line of JSON."""
    top = [
        (class_names[i], float(probabilities[i])) for i in np.argsort(-probabilities)[: TOP.value]
    ]
    if JSON.value:
        predictions = [{"class": name, "probability": p} for name, p in top]
        print(json.dumps({"file": name, "predictions": predictions}))
    else:
        print(printable(name))
        for class_name, p in top:
            print(f"  {p:6.1%}  {_bar(p)}{class_name}")


def save(path: Path, names: Sequence[str], features: np.ndarray) -> None:
    """Writes `features` (N, …) and `files` (N,), which are their names."""
    with atomic_write(path) as incomplete, incomplete.open("wb") as file:
        np.savez(file, features=features, files=np.array(names))
    print(f"{LAYER.value} of {len(names)} images, {features.shape}, is in {path}")


def _with_progress(of_files: Iterable[FileResult], count: int) -> Iterable[FileResult]:
    # What is printed to a terminal is progress enough.
    is_seen = sys.stdout.isatty() and SAVE_FEATURES.value is None
    is_short = count <= MAX_BATCH
    return tqdm(of_files, "predict", count, unit=" images", disable=is_seen or is_short)


def _check_together() -> None:
    saves = SAVE_FEATURES.value is not None
    for name in ("views", "top", "json") if saves else ("layer",):
        if FLAGS.values[name].present:
            raise UserError(f"--{name}: only {'without' if saves else 'with'} --save_features")


def _bar(p: float) -> str:
    if not sys.stdout.isatty():
        return ""
    full, eighths = divmod(round(p * BAR * 8), 8)
    return f"{'█' * full}{EIGHTHS[eighths] if eighths else ''}".ljust(BAR) + "  "


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
