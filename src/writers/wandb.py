"""Weights & Biases."""

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .base import FINAL, Settings, Writer, keep_id


class WeightsAndBiases(Writer):
    """A run of Weights & Biases; resuming continues it. Its files are in `wandb`.

    Raises:
      UserError: it refuses the run, such as without an API key.
    """

    service = "wandb"

    def __init__(self, workdir: Path, start: int, settings: Settings):  # noqa: ARG002
        import wandb

        self._image = wandb.Image
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "alexnet"),
                name=workdir.absolute().name,
                dir=workdir,
                id=keep_id(workdir / "wandb" / "id", lambda: uuid.uuid4().hex),
                resume="allow",
                config=settings,
                allow_val_change=True,
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.Error as error:
            raise UserError(
                f"config.writers: wandb: {error} WANDB_MODE=offline needs no account."
            ) from None

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        named = {f"{split}/{name}": value for name, value in metrics.items()}
        self._run.log({"epoch": epoch, **named}, step=step)

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        self._run.log({name: self._image(image) for name, image in images.items()}, step=step)

    def finish(self, step: int, result: dict[str, Any]) -> None:  # noqa: ARG002
        self._run.summary.update({f"final/{name}": result[name] for name in FINAL})

    def close(self) -> None:
        self._run.finish()
