"""Random access to the encoded images and labels of a prepared data set's split."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CommandError, UserError, describe_system_error


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
    """Random access to the examples of a split; safe to use in threads, and to pickle.

    Args:
      files: TFDS's `file_instructions` of the split.
      directory: of the prepared data set.
      num_classes: of the data set.
    """

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
        return [bytes(encoded) for encoded, _ in examples], labels

    def examples(self, indices: Iterable[int]) -> Iterator[tuple[memoryview, int]]:
        """Yields the encoded images and the labels of examples.

        Raises:
          UserError: a file is damaged, or a label is not the number of a class; an older version
            prepared such images.
        """
        for index in indices:  # `__getitems__` starts a thread for each file
            with naming_damage(self._directory):
                example = _parse(self._source[index])
            label = _to_int(example["label"])
            if label not in self._labels:
                raise UserError(
                    f"{self._directory}: label {label} is not one of 0…{self._labels[-1]}; remove "
                    "the directory to prepare the images again"
                )
            yield example["image"], label

    def file(self, index: int) -> str:
        """The path of an example's file in the source, or the name that TFDS has for it."""
        with naming_damage(self._directory):
            return os.fsdecode(bytes(_parse(self._source[index])["file"]))


def _parse(example: bytes) -> dict[str, memoryview]:
    """The first value of each feature of a serialized tf.train.Example.

    Importing TensorFlow's or TFDS's protocol buffers takes as long as all else that readers import.
    """
    ((_, features),) = _fields(memoryview(example))
    values = {}
    for _, entry in _fields(features):
        (_, name), (_, feature) = _fields(entry)
        ((_, kind),) = _fields(feature)
        ((_, values[str(name, "utf-8")]),) = _fields(kind)
    return values


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The numbers and contents of a protocol buffer's fields, all of which have a length."""
    end = 0
    while end < len(message):
        tag, start = _varint(message, end)
        length, start = _varint(message, start)
        end = start + length
        yield tag >> 3, message[start:end]


def _varint(message: memoryview, start: int) -> tuple[int, int]:
    """An integer of variable length, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value, start


def _to_int(message: memoryview) -> int:
    value, _ = _varint(message, 0)
    return value - (value >> 63 << 64)  # of two's complement
