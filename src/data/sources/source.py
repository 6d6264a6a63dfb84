"""What a source of original images is: named splits of labeled examples."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import UserError, check_choice
from ...filesystem import FileStatus
from ..images import UnreadableImage


class MissingOriginals(UserError):
    """The original images are not there."""


class Example(NamedTuple):
    """A labeled original image."""

    name: str  # of its file, or whatever else identifies it in the source
    label: int
    image: Path | bytes | np.ndarray | UnreadableImage  # the last says why there is none


class Split(NamedTuple):
    """A split of a source; its examples always come in the same order."""

    name: str
    num_examples: int
    examples: Callable[[], Iterator[Example]]


class Originals(NamedTuple):
    """The splits of a source. The name "train" is the training split's, if there is one."""

    train: Split | None  # None if the images are for evaluation only
    evaluation: Split


class Source(NamedTuple):
    """A source whose images `load` may have to download first."""

    name: str
    identity: str  # differs when the names or sizes of the images differ, or the splits
    class_names: Callable[[], list[str]]  # without the images
    load: Callable[[], Originals]
    directory: Path = Path()
    files: Mapping[str, FileStatus] = {}  # in `directory`; empty if `identity` tells all


def choose_split(field: str, wanted: str, available: list[str]) -> str:
    """The wanted split, by default the first; raises UserError if there is no such split."""
    if wanted:
        check_choice(f"config.data.{field}", wanted, available)
    return wanted or available[0]
