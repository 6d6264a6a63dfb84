"""What is on images.

python -m src.predict --workdir=DIR [--views=1|9|10] [--top=5] [--json] IMAGE|FOLDER…
"""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from src.classifier import MOST_AT_ONCE, load
from src.cli import new_flags, run
from src.data import images
from src.data.augment import VIEWS as KNOWN_VIEWS
from src.errors import UserError

FLAGS = new_flags()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run whose network is asked.", required=True, flag_values=FLAGS
)
VIEWS = flags.DEFINE_enum(
    "views",
    None,
    [str(views) for views in KNOWN_VIEWS],
    "Of each image. Default: the recipe's.",
    flag_values=FLAGS,
)
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "newest", ["newest", "best"], "Which to use.", flag_values=FLAGS
)
TOP = flags.DEFINE_integer("top", 5, "How many classes to show.", lower_bound=1, flag_values=FLAGS)
JSON = flags.DEFINE_bool("json", False, "Print a JSON object an image.", flag_values=FLAGS)


def main(arguments: Sequence[str]) -> int:
    """Shows the predictions; 1 if a file could not be read, which does not stop the others."""
    if not arguments:
        raise UserError("arguments: no image is given; name image files or folders of them")
    classifier = load(WORKDIR.value, checkpoint=CHECKPOINT.value)
    views = int(VIEWS.value) if VIEWS.value else None
    paths = find_files(arguments)
    all_readable = True
    while some := list(itertools.islice(paths, MOST_AT_ONCE)):
        pixels = {}
        for path in some:
            try:
                pixels[path] = images.decode(images.prepare(path, classifier.config.data.size))
            except images.UnreadableImage as reason:
                all_readable = False
                print(f"error: {path}: {reason}", file=sys.stderr)
        if pixels:
            probabilities = classifier(np.stack(list(pixels.values())), views)
            for path, of_image in zip(pixels, probabilities, strict=True):
                show(path, of_image, classifier.class_names)
    return 0 if all_readable else 1


def find_files(arguments: Sequence[str]) -> Iterator[Path]:
    """The arguments, and instead of folders the files in them, however deep."""
    for path in map(Path, arguments):
        if path.is_dir():
            yield from sorted(file for file in path.rglob("[!.]*") if file.is_file())
        else:
            yield path


def show(path: Path, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    """Prints the most probable classes, as a table or as a line of JSON."""
    top = [
        (class_names[i], float(probabilities[i])) for i in np.argsort(-probabilities)[: TOP.value]
    ]
    if JSON.value:
        predictions = [{"class": name, "probability": p} for name, p in top]
        print(json.dumps({"file": str(path), "predictions": predictions}))
    else:
        print(str(path).encode(errors="backslashreplace").decode())  # a name may be no text
        for name, p in top:
            print(f"  {p:6.1%}  {name}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
