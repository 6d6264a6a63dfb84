"""A prepared data set on disk."""

import contextlib
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..filesystem import write_json
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
      train_split, eval_split: the names of the two splits; some data sets have only the latter.
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
        self.train_split = "train"
        with naming_damage(directory):
            info = tfds.builder_from_directory(directory).info
            self.class_names: list[str] = info.features["label"].names
            (self.eval_split,) = info.splits.keys() - {"train"}
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

    @functools.cached_property
    def class_counts(self) -> list[int]:
        """How many images each class has in the training split.

        They are counted here, once, if an older version prepared the images.
        """
        report: dict[str, Any] = self.report[self.train_split]
        if "class_counts" not in report:
            records = self.records(self.train_split)
            labels = [label for _, label in records.examples(range(len(records)))]
            counts = np.bincount(labels, minlength=len(self.class_names))
            report["class_counts"] = counts.tolist()
            with contextlib.suppress(OSError):  # whoever can read prepared data may use them
                write_json(self.directory / REPORT, self.report)
        return report["class_counts"]

    def digests(self, split: str) -> set[str]:
        """The digests of a split's original images; none if an older version prepared them."""
        path = self.directory / DIGESTS
        with naming_damage(self.directory):
            return set(json.loads(path.read_text())[split]) if path.exists() else set()

    def records(self, split: str) -> Records:
        """The examples of a split, whose files are opened once."""
        if split not in self._records:
            files = self._files[split]
            self._records[split] = Records(files, self.directory, len(self.class_names))
        return self._records[split]
