"""The images nearest to others, by the features that a network has of them.

python -m src.retrieve --workdir=DIR --index=FOLDER|SPLIT [--nearest=6] [--json] QUERY…

FOLDER is one of images, however deep; SPLIT one of the run's data, such as train. Their features
are computed once and kept in DIR/index. QUERY is an image as for src.predict.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..data.image_files import find_images, printable
from ..inference.classifier import load
from ..inference.nearest import find_nearest
from .index import open_index

FLAGS = CommandFlags(takes_arguments=True)
WORKDIR = FLAGS.string("workdir", None, "The run whose network to use.", required=True)
INDEX = FLAGS.string("index", None, "Where to search: a folder, or a split's name.", required=True)
CHECKPOINT = FLAGS.checkpoint()
LAYER = FLAGS.string("layer", "fc7", "The layer whose features to compare.")
NEAREST = FLAGS.integer("nearest", 6, "How many to show.", lower_bound=1)
FILES_FROM = FLAGS.string("files_from", None, "File with one query name per line; - for stdin.")
JSON = FLAGS.boolean("json", False, "Print one JSON object per query.")


def main() -> int:
    """Shows the nearest images; 1 if a query can't be read, which does not stop the others."""
    workdir = Path(WORKDIR.value)
    queries = find_images(FLAGS.arguments, FILES_FROM.value)
    classifier = load(workdir, checkpoint=CHECKPOINT.value)
    index = open_index(workdir, classifier, INDEX.value, LAYER.value)
    of_files = classifier.file_features([query.original for query in queries], LAYER.value)
    readable, features = [], []
    for query, result in zip(queries, of_files, strict=True):
        if result.output is None:
            print(f"error: {printable(query.name)}: {result.error}", file=sys.stderr)
        else:
            readable.append(query.name)
            features.append(result.output)
    if readable:
        count = min(NEAREST.value, len(index.entries))
        found = find_nearest(np.stack(features), index.features, count)
        for query_name, distances, places in zip(readable, *found, strict=True):
            show(query_name, distances, [index.entries[place] for place in places])
    return 0 if len(readable) == len(queries) else 1


def show(query: str, distances: np.ndarray, entries: Sequence[dict[str, str]]) -> None:
    """Prints what is nearest to a query, as a table or as a line of JSON."""
    if JSON.value:
        found = [
            {**entry, "distance": float(d)} for entry, d in zip(entries, distances, strict=True)
        ]
        print(json.dumps({"query": query, "nearest": found}))
    else:
        print(printable(query))
        for entry, distance in zip(entries, distances, strict=True):
            print(f"  {distance:9.2f}  {'  '.join(map(printable, reversed(entry.values())))}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
