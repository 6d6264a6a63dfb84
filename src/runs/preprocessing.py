"""What prediction must know of the training data."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.statistics import Statistics
from ..errors import UserError
from ..filesystem import atomic_write


class Preprocessing(NamedTuple):
    """What prediction must know of the training data."""

    data: str  # the prepared data set's name; empty where the weights are from elsewhere
    class_names: list[str]
    statistics: Statistics


def write_preprocessing(workdir: Path, preprocessing: Preprocessing) -> None:
    data, class_names, statistics = preprocessing
    with atomic_write(workdir / "preprocessing.npz") as incomplete, incomplete.open("wb") as file:
        np.savez(file, data=data, class_names=class_names, **statistics._asdict())


def read_preprocessing(workdir: Path) -> Preprocessing:
    """What prediction needs of the data that the run in this folder was trained on."""
    try:
        with np.load(workdir / "preprocessing.npz") as arrays:
            statistics = Statistics(*(arrays[name] for name in Statistics._fields))
            return Preprocessing(str(arrays["data"]), arrays["class_names"].tolist(), statistics)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"workdir {workdir}: preprocessing.npz is missing or damaged: {error}"
        ) from None
