"""Finds the images that are most similar to query images, by a network's features.

python -m src.retrieve --workdir=DIR --index=DIRECTORY|SPLIT [--nearest=6] [--json] QUERY…

DIRECTORY has images at any depth. SPLIT is a split of the run's data, such as train. The command
computes the features of these images once and keeps them in DIR/index. QUERY is as for src.predict.
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
INDEX = FLAGS.string("index", None, "Where to search: a directory or a split.", required=True)
CHECKPOINT = FLAGS.checkpoint()
LAYER = FLAGS.string("layer", "fc7", "The layer whose features to compare.")
NEAREST = FLAGS.integer("nearest", 6, "How many images to show per query.", lower_bound=1)
FILES_FROM = FLAGS.string("files_from", None, "File with one query name per line; - is stdin.")
JSON = FLAGS.boolean("json", False, "Print one JSON object per query.")


def main() -> int:
    """Prints each query's nearest images; returns 1 if it could not read a query."""
    workdir = Path(WORKDIR.value)
    queries = find_images(FLAGS.arguments, FILES_FROM.value)
    classifier = load(workdir, checkpoint=CHECKPOINT.value)
    index = open_index(workdir, classifier, INDEX.value, LAYER.value)
    results = classifier.file_features([query.original for query in queries], LAYER.value)
    names, features = [], []
    for query, result in zip(queries, results, strict=True):
        if result.output is None:
            print(f"error: {printable(query.name)}: {result.error}", file=sys.stderr)
        else:
            names.append(query.name)
            features.append(result.output)
    if names:
        count = min(NEAREST.value, len(index.entries))
        nearest = find_nearest(np.stack(features), index.features, count)
        for name, distances, indices in zip(names, *nearest, strict=True):
            show(name, distances, [index.entries[i] for i in indices])
    return 0 if len(names) == len(queries) else 1


def show(query: str, distances: np.ndarray, entries: Sequence[dict[str, str]]) -> None:
    """Prints a query's nearest images as a table or as a line of JSON."""
    nearest = list(zip(entries, distances.tolist(), strict=True))
    if JSON.value:
        listed = [entry | {"distance": distance} for entry, distance in nearest]
        print(json.dumps({"query": query, "nearest": listed}))
        return
    print(printable(query))
    print(f"  {'distance':>9}  {'  '.join(reversed(entries[0]))}")
    for entry, distance in nearest:
        print(f"  {distance:9.2f}  {'  '.join(map(printable, reversed(entry.values())))}")


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
