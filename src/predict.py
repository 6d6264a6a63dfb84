"""Classifies images, or saves their features.

python -m src.predict --workdir=DIR[,DIR…] [--views=1|9|10] [--top=5] [--json] IMAGE…
python -m src.predict --workdir=DIR --save_features=FILE.npz [--layer=fc7] IMAGE…

IMAGE is a file, a directory, a pattern like 'photos/**/*.jpg', or - for an image on standard input.
Several runs are an ensemble, whose probabilities are averaged.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .cli.app import run
from .cli.flags import CommandFlags
from .data.image_files import find_images, printable
from .errors import UserError
from .filesystem import atomic_write, check_writable
from .inference.classifier import MAX_BATCH, load
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
    """Prints predictions or saves features; 1 if a file is unreadable, which stops no other."""
    saves = SAVE_FEATURES.value is not None
    _check_flags(saves)
    images = find_images(FLAGS.arguments, FILES_FROM.value)
    members = {workdir: load(workdir, checkpoint=CHECKPOINT.value) for workdir in WORKDIR.value}
    first = members[WORKDIR.value[0]]
    originals = [image.original for image in images]
    if saves:
        results = first.file_features(originals, LAYER.value)
    else:
        results = predict_ensemble(members, originals, VIEWS.value)
    # The predictions on a terminal show the progress.
    quiet = len(images) <= MAX_BATCH or (sys.stdout.isatty() and not saves)
    names, features = [], []
    progress = tqdm(results, "predict", len(images), unit=" images", disable=quiet)
    for image, result in zip(images, progress, strict=True):
        if result.output is None:
            tqdm.write(f"error: {printable(image.name)}: {result.error}", file=sys.stderr)
            continue
        names.append(image.name)
        if saves:
            features.append(result.output)
        else:
            show(image.name, result.output, first.class_names)
    if features:
        save(Path(SAVE_FEATURES.value), names, np.stack(features))
    return 0 if len(names) == len(images) else 1


def show(name: str, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    order = np.argsort(-probabilities)[: TOP.value]
    top = [(class_names[i], float(probabilities[i])) for i in order]
    if JSON.value:
        predictions = [{"class": name, "probability": p} for name, p in top]
        print(json.dumps({"file": name, "predictions": predictions}))
    else:
        print(printable(name))
        for class_name, p in top:
            print(f"  {p:6.1%}  {_bar(p)}{class_name}")


def save(path: Path, names: Sequence[str], features: np.ndarray) -> None:
    """Writes `features` (N, …) and the file names `files` (N,)."""
    with atomic_write(path) as incomplete, incomplete.open("wb") as file:
        np.savez(file, features=features, files=np.array(names))
    print(f"{LAYER.value} of {len(names)} images, {features.shape}, is in {path}")


def _check_flags(saves: bool) -> None:
    for name in ("views", "top", "json") if saves else ("layer",):
        if FLAGS.values[name].present:
            raise UserError(f"--{name}: only {'without' if saves else 'with'} --save_features")
    if saves:
        if not SAVE_FEATURES.value.endswith(".npz"):
            raise UserError(f"--save_features={SAVE_FEATURES.value}: name it .npz, for NumPy")
        check_writable("save_features", Path(SAVE_FEATURES.value))
        if len(WORKDIR.value) > 1:
            raise UserError(f"--workdir={','.join(WORKDIR.value)}: features are of one network")


def _bar(p: float) -> str:
    if not sys.stdout.isatty():
        return ""
    full, eighths = divmod(round(p * BAR * 8), 8)
    return f"{'█' * full}{EIGHTHS[eighths] if eighths else ''}".ljust(BAR) + "  "


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
