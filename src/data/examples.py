"""A few images of a data set as files, to try a network on."""

import itertools
import re
from pathlib import Path

from .dataset import PreparedDataset

COUNT = 10  # images


def save_examples(dataset: PreparedDataset, directory: Path) -> list[Path]:
    """Writes the first image of each class, up to ten, of the evaluation split, as prepared.

    Returns:
      The files, named after their classes.
    """
    records = dataset.records(dataset.eval_split)
    found: dict[int, bytes] = {}
    for encoded, label in itertools.islice(records.examples(range(len(records))), 1000):
        found.setdefault(label, encoded)
        if len(found) == min(COUNT, len(dataset.class_names)):
            break
    directory.mkdir(exist_ok=True)
    paths = []
    for label, encoded in sorted(found.items()):
        name = re.sub(r"[^\w.-]+", "_", dataset.class_names[label])[:80]
        suffix = "png" if encoded.startswith(b"\x89PNG") else "jpg"
        paths.append(directory / f"{label}-{name}.{suffix}")
        paths[-1].write_bytes(encoded)
    return paths
