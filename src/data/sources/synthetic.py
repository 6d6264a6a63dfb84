"""Random images, to measure a machine without data."""

from collections.abc import Iterator

import cv2
import numpy as np
from ml_collections import ConfigDict

from .source import Example, Originals, Source, Split, choose_split

NUM_CLASSES = 1000
NUM_EXAMPLES = {"train": 2048, "test": 512}
SCALE = 6  # of random pixels: as JPEG, the images take as many bytes as photographs


def synthetic_source(section: ConfigDict, trains: bool) -> Source:
    """Random images of the prepared size with random labels."""
    choose_split("train_split", section.train_split, ["train"])
    choose_split("eval_split", section.eval_split, ["test"])
    size = section.size

    def split(name: str) -> Split:
        def examples() -> Iterator[Example]:
            random = np.random.default_rng(len(name))  # a seed for each split
            for index in range(NUM_EXAMPLES[name]):
                small = random.integers(0, 256, (-(-size // SCALE),) * 2 + (3,), np.uint8)
                image = cv2.resize(small, (size, size))
                yield Example(str(index), int(random.integers(NUM_CLASSES)), image)

        return Split(name, NUM_EXAMPLES[name], examples)

    identity = f"synthetic {size}" if trains else f"synthetic {size} test"
    return Source(
        "synthetic",
        identity,
        lambda: [str(label) for label in range(NUM_CLASSES)],
        lambda: Originals(split("train") if trains else None, split("test")),
    )
