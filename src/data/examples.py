"""A few images of a data set as files, to try a network on."""

import re
from pathlib import Path

import numpy as np

from .dataset import PreparedDataset

COUNT = 10  # images


def save_examples(dataset: PreparedDataset, directory: Path) -> list[Path]:
    """Writes an image of each of up to ten classes of the evaluation split, as prepared.

    Returns:
      The files, named after their classes.
    """
    records = dataset.records(dataset.eval_split)
    found: dict[int, bytes] = {}
    # Evenly over the split: directories of images are sorted by class.
    places = np.unique(np.linspace(0, len(records) - 1, num=1000).astype(int))
    for encoded, label in records.examples(places.tolist()):
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
