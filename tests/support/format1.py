"""A run of format 1 in miniature, which tests/data/run_format_1 holds.

python -m tests.support.format1 makes it anew; only a new format is a reason to do so.
"""

import shutil
from pathlib import Path

from ml_collections import ConfigDict

from src.runs.results import read_result
from tests.support import tiny
from tests.support.runs import trained

WORKDIR = Path(__file__).parents[1] / "data" / "run_format_1"
MAPS = {"conv1": 4, "conv2": 4, "conv3": 4, "conv4": 4, "conv5": 4}
UNITS = {"fc6": 8, "fc7": 8}


def recipe(root: Path) -> ConfigDict:
    config = tiny.get_config()
    for name, maps in MAPS.items():
        config.model.convs[name].maps = maps
    for name, units in UNITS.items():
        config.model.dense[name].units = units
    config.duration = "8 steps"
    config.evaluate_every = "8 steps"
    config.checkpoint_every = "4 steps"
    config.data.root = str(root)
    return config


def main() -> None:
    shutil.rmtree(WORKDIR, ignore_errors=True)
    trained(recipe(Path("prepared")), WORKDIR)
    for events in WORKDIR.glob("events.*"):
        events.unlink()
    for note in WORKDIR.rglob("commit_success.txt"):  # Orbax wrote this machine's path into it
        note.write_text("")
    print(read_result(WORKDIR))


if __name__ == "__main__":
    main()
