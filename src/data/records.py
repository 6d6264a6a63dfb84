"""Random access to the encoded images and labels of a prepared data set's split."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CommandError, UserError, describe_system_error
from .protobuf import message_class

# tf.train.Example; importing TensorFlow's or TFDS's takes as long as all else that readers import.
EXAMPLE = message_class(
    "Example",
    [
        ("Example", "optional", "Features", "features", 1),
        ("Features", "repeated", "Entry", "feature", 1),
        ("Entry", "optional", "string", "key", 1),
        ("Entry", "optional", "Feature", "value", 2),
        ("Feature", "optional", "BytesList", "bytes", 1),
        ("Feature", "optional", "Int64List", "ints", 3),
        ("BytesList", "repeated", "bytes", "value", 1),
        ("Int64List", "repeated", "int64", "value", 1),
    ],
)


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
    """Random access to the examples in TFDS's `file_instructions`, also in threads and pickled."""

    def __init__(self, files: Sequence[Any], directory: Path, num_classes: int):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self._source = ArrayRecordDataSource(files)
        self._directory, self._labels = directory, range(num_classes)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Iterable[int]) -> tuple[list[bytes], np.ndarray]:
        """The encoded images and the labels, int32 (N,), of N examples; raises as `examples`."""
        examples = list(self.examples(indices))
        labels = np.array([label for _, label in examples], np.int32)
        return [encoded for encoded, _ in examples], labels

    def examples(self, indices: Iterable[int]) -> Iterator[tuple[bytes, int]]:
        """Yields the encoded images and the labels of examples.

        Raises:
          UserError: a file is damaged, or a label is not the number of a class.
        """
        for index in indices:  # One at a time: `__getitems__` would start a thread for each file.
            with naming_damage(self._directory):
                features = self._features(index)
                (encoded,), (label,) = features["image"].bytes.value, features["label"].ints.value
            if label not in self._labels:
                raise UserError(
                    f"{self._directory}: label {label} is not one of 0…{self._labels[-1]}; remove "
                    "the directory to prepare the images again"
                )
            yield encoded, label

    def file(self, index: int) -> str:
        """The path of an example's file in the source, or the name that TFDS has for it."""
        with naming_damage(self._directory):
            (name,) = self._features(index)["file"].bytes.value
            return os.fsdecode(name)

    def _features(self, index: int) -> dict[str, Any]:
        example = EXAMPLE.FromString(self._source[index])
        return {entry.key: entry.value for entry in example.features.feature}
