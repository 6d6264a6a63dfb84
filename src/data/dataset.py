"""A prepared data set on disk: random access to its encoded images and labels."""

import contextlib
import functools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CommandError, UserError, describe_system_error
from .statistics import Statistics

DIGESTS = "digests.json"  # of the original images, by split


def identity_of(name: str) -> str:
    """The part of a prepared data set's name that does not depend on the original's place."""
    return name.partition("-")[2]


@contextlib.contextmanager
def naming_damage(directory: Path) -> Iterator[None]:
    """Turns what readers raise for a damaged or missing file into one error with what to do."""
    try:
        yield
    except Exception as error:  # each reader has its own
        if isinstance(error, CommandError) or describe_system_error(error):
            raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(
            f"{directory}: a file is damaged or missing ({reason}); restore it, or remove the "
            "directory to prepare the images again"
        ) from error


class Records:
    """Random access to the examples of a split; safe to use in threads.

    Args:
      source: TFDS's data source of the split, which yields serialized examples.
      directory: of the prepared data set.
      num_classes: of the data set.
    """

    def __init__(self, source: Any, directory: Path, num_classes: int):
        from tensorflow_datasets.proto import tf_example_pb2

        self._source, self._directory, self._labels = source, directory, range(num_classes)
        self._parse = tf_example_pb2.Example.FromString

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Iterable[int]) -> tuple[list[bytes], np.ndarray]:
        """Reads the encoded images and the labels, int32 (N,), of N examples.

        Raises:
          UserError: a label is not the number of a class; an older version prepared such images.
        """
        # One by one: TFDS's `__getitems__` starts a thread for each shard. Parsed here: TFDS takes
        # four times as long.
        examples = [self._features(i) for i in indices]
        encoded = [example["image"].bytes_list.value[0] for example in examples]
        labels = [example["label"].int64_list.value[0] for example in examples]
        if wrong := [label for label in labels if label not in self._labels]:
            raise UserError(
                f"{self._directory}: label {wrong[0]} is not one of 0…{self._labels[-1]}; remove "
                "the directory to prepare the images again"
            )
        return encoded, np.array(labels, np.int32)

    def file(self, index: int) -> str:
        """The path of an example's file in the source, or the name that TFDS has for it."""
        return os.fsdecode(self._features(index)["file"].bytes_list.value[0])

    def _features(self, index: int) -> Any:
        with naming_damage(self._directory):
            return self._parse(self._source[index]).features.feature


class PreparedDataset:
    """A prepared data set.

    Attributes:
      directory: its files, which `tfds.builder_from_directory` also reads.
      class_names: in the order of the labels.
      train_split, eval_split: the names of the two splits; some data sets have only the latter.
      num_examples: of each split, by its name.
      size: height and width of the images.
      report: what was left out of each split.
      in_train: how many evaluation images are equal to training images; None if unknown.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        with naming_damage(directory):
            self._open()
        self._records: dict[str, Records] = {}

    def _open(self) -> None:
        import tensorflow_datasets as tfds  # takes a second, which prediction need not wait for

        directory = self.directory
        self._builder = tfds.builder_from_directory(directory)
        self._serialized = tfds.decode.DeserializeMethod.RAW_BYTES
        info = self._builder.info
        self.class_names: list[str] = info.features["label"].names
        self.train_split = "train"
        (self.eval_split,) = info.splits.keys() - {"train"}
        self.num_examples = {name: split.num_examples for name, split in info.splits.items()}
        self.size: int = info.features["image"].shape[0]
        self.report: dict[str, Any] = json.loads((directory / "report.json").read_text())
        repeated = self.report.get(self.eval_split, {}).get("in_train")
        self.in_train = None if repeated is None else len(repeated)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training split's pixels."""
        with naming_damage(self.directory), np.load(self.directory / "statistics.npz") as arrays:
            return Statistics(**arrays)

    def digests(self, split: str) -> set[str]:
        """The digests of a split's original images; none if an older version prepared them."""
        path = self.directory / DIGESTS
        with naming_damage(self.directory):
            return set(json.loads(path.read_text())[split]) if path.exists() else set()

    def records(self, split: str) -> Records:
        """The examples of a split, whose files are opened once."""
        if split not in self._records:
            source = self._builder.as_data_source(split, deserialize_method=self._serialized)
            self._records[split] = Records(source, self.directory, len(self.class_names))
        return self._records[split]
