"""What prediction needs from the training data: class names and pixel statistics."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.statistics import Statistics
from ..errors import UserError, describe_system_error
from ..filesystem import atomic_write


class Preprocessing(NamedTuple):
    """What prediction needs from the training data."""

    dataset: str  # name of the prepared dataset; empty for imported weights
    class_names: list[str]  # in the order of the labels
    statistics: Statistics
    in_train: int | None = None  # evaluation images that are also training images, if known


def write_preprocessing(workdir: Path, preprocessing: Preprocessing) -> None:
    """Writes to a run directory, or creates it, so that prediction works without the data."""
    dataset, class_names, statistics, in_train = preprocessing
    arrays = {"dataset": dataset, "class_names": class_names, **statistics._asdict()}
    if in_train is not None:
        arrays["in_train"] = in_train
    workdir.mkdir(parents=True, exist_ok=True)
    with atomic_write(workdir / "preprocessing.npz") as incomplete, incomplete.open("wb") as file:
        np.savez(file, **arrays)


def read_preprocessing(workdir: Path) -> Preprocessing:
    """Reads from a run directory; UserError if the file is missing or damaged."""
    try:
        with np.load(workdir / "preprocessing.npz") as arrays:
            statistics = Statistics(*(arrays[name] for name in Statistics._fields))
            class_names = arrays["class_names"].tolist()
            in_train = int(arrays["in_train"]) if "in_train" in arrays else None
            return Preprocessing(str(arrays["dataset"]), class_names, statistics, in_train)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if describe_system_error(error):
            raise
        raise UserError(
            f"workdir {workdir}: preprocessing.npz is missing or damaged: {error}"
        ) from None
