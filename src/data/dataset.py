"""A prepared data set on disk."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from .records import Records, naming_damage
from .statistics import Statistics

DIGESTS = "digests.json"  # of the original images, by split
REPORT = "report.json"


def identity_of(name: str) -> str:
    """The part of a prepared data set's name that does not depend on the original's place."""
    return name.partition("-")[2]


class PreparedDataset:
    """A prepared data set.

    Attributes:
      directory: its files, which `tfds.builder_from_directory` also reads.
      class_names: in the order of the labels.
      train_split, eval_split: the names of the two splits; the first is "" in a data set that is
        for evaluation only, whose split may be "train".
      num_examples: of each split, by its name.
      size: height and width of the images.
      report: what was left out of each split, and how many images of each class were not.
      in_train: how many evaluation images are equal to training images; None if unknown.
      cache_gb: how large a split may be, decoded, to be kept in memory.
    """

    def __init__(self, directory: Path, cache_gb: float = 0.0):
        import tensorflow_datasets as tfds  # takes a second, which prediction need not wait for

        self.directory, self.cache_gb = directory, cache_gb
        self._records: dict[str, Records] = {}
        with naming_damage(directory):
            info = tfds.builder_from_directory(directory).info
            self.class_names: list[str] = info.features["label"].names
            self.train_split = "train" if len(info.splits) > 1 else ""
            (self.eval_split,) = info.splits.keys() - {self.train_split}
            self.num_examples = {name: split.num_examples for name, split in info.splits.items()}
            self._files = {name: split.file_instructions for name, split in info.splits.items()}
            self.size: int = info.features["image"].shape[0]
            self.report: dict[str, Any] = json.loads((directory / REPORT).read_text())
            repeated = self.report.get(self.eval_split, {}).get("in_train")
        self.in_train = None if repeated is None else len(repeated)

    @functools.cached_property
    def statistics(self) -> Statistics:
        with naming_damage(self.directory), np.load(self.directory / "statistics.npz") as arrays:
            return Statistics(**arrays)

    @property
    def class_counts(self) -> list[int]:
        """How many images each class has in the training split."""
        with naming_damage(self.directory):
            return self.report[self.train_split]["class_counts"]

    def digests(self, split: str) -> set[str]:
        """The digests of a split's original images."""
        with naming_damage(self.directory):
            return set(json.loads((self.directory / DIGESTS).read_text())[split])

    def records(self, split: str) -> Records:
        """The examples of a split, whose files are opened once."""
        if split not in self._records:
            files = self._files[split]
            self._records[split] = Records(files, self.directory, len(self.class_names))
        return self._records[split]
