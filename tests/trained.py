"""Runs that are trained in this process."""

from pathlib import Path

from ml_collections import ConfigDict

from src.place import place
from src.processes import Team
from src.train import train


def trained(root: Path, name: str, config: ConfigDict) -> Path:
    """The folder of a run that is trained on all devices, each of which has all towers."""
    config.data.root = str(root / "prepared")
    config.mesh.data, config.mesh.model = "8", "1"
    assert train(config, root / name, Team(place({}), **config.processes)) == 0
    return root / name
