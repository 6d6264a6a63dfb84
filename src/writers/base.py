"""What a writer of metrics does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..filesystem import atomic_write

Settings = dict[str, Any]
"""The configuration by full names, such as "data.size"; "mesh" is the mesh that trains."""

COMPARED = (
    "data.dataset",
    "model.image_size",
    "model.activation",
    "model.init",
    "model.dropout",
    "batch_size",
    "duration",
    "schedule.name",
    "schedule.learning_rate",
    "optimizer.name",
    "optimizer.momentum",
    "optimizer.weight_decay",
    "label_smoothing",
    "dtype",
    "mesh",
    "seed",
)
"""The settings by which tables of runs compare them."""

FINAL = ("top1_error", "top5_error", "loss")
"""What tables of runs say of the final evaluation."""


class Writer:
    """Writes the metrics of a run. Subclasses leave out what they do not show.

    Attributes:
      service: the service to which it writes; training goes on without one that is lost.
    """

    service: str | None = None

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Writes the metrics of a split ("train", or the name of the evaluation split)."""

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Writes images of the network at an evaluation, uint8 (H, W, 3), by name."""

    def finish(self, step: int, result: dict[str, Any]) -> None:
        """Writes the result of the final evaluation."""

    def close(self) -> None:
        """Ends the writing, whether the run is finished or not."""


def keep_id(path: Path, new: Callable[[], str]) -> str:
    """The run's id at a service: read from `path`, or made by `new` and saved there."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as incomplete:
            incomplete.write_text(new())
    return path.read_text()
