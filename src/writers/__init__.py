"""Where the metrics of a run go: metrics.jsonl, and what `config.writers` names."""

from collections.abc import Callable
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..errors import EXTRAS, check_choice, check_extra
from ..runs.config import flatten
from .base import Settings, Writer
from .jsonl import JsonLines
from .mlflow import MLflow
from .tensorboard import TensorBoard
from .wandb import WeightsAndBiases

WRITERS: dict[str, Callable[[Path, int, Settings], Writer]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def check_writers(config: ConfigDict) -> None:
    """Raises UserError if a writer is unknown, or needs a package that is not installed."""
    for name in _names(config):
        check_choice("config.writers", name, WRITERS)
        if name in EXTRAS:
            check_extra(name)


def make_writers(workdir: Path, start: int, config: ConfigDict, mesh: Mesh) -> list[Writer]:
    """All writers of a run that has done `start` steps."""
    sizes = " × ".join(map(str, mesh.shape.values()))
    settings: Settings = {**flatten(config), "mesh": f"{sizes} ({' × '.join(mesh.shape)})"}
    named = [WRITERS[name](workdir, start, settings) for name in _names(config)]
    return [JsonLines(workdir), *named]


def _names(config: ConfigDict) -> list[str]:
    """Also of --config.writers=tensorboard,wandb, which is a tuple of one string."""
    return [name for name in ",".join(map(str, config.writers)).split(",") if name]
