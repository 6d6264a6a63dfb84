"""What a source of original images is: named splits of labeled examples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import UserError
from ..images import RawImage


class Example(NamedTuple):
    """One original."""

    name: str  # the file's, or whatever else the source tells its images apart by
    label: int
    image: RawImage


@dataclass(frozen=True)
class Split:
    """A part of a source; its examples come in the same order every time."""

    name: str
    num_examples: int
    examples: Callable[[], Iterator[Example]]


@dataclass(frozen=True)
class Originals:
    """All that a source holds. The training split's name is "train", the other's is not."""

    class_names: list[str]
    train: Split
    evaluation: Split


@dataclass(frozen=True)
class Source:
    """A source that is known, but whose images `load` may yet have to download."""

    name: str
    identity: str  # differs when the images or the splits do
    class_names: Callable[[], list[str]]  # without the images
    load: Callable[[], Originals]


def choose_split(field: str, wanted: str, available: list[str]) -> str:
    if wanted and wanted not in available:
        raise UserError(f"config.data.{field}={wanted!r}: there is only {' and '.join(available)}")
    return wanted or available[0]
