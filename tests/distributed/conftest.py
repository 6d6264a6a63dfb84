from pathlib import Path

import pytest

from tests.support.commands import environment
from tests.support.launched import LONG, SOON, command, started


@pytest.fixture(scope="session")
def reference(cache: Path) -> Path:
    """An uninterrupted run of one process, on a mesh of 2 × 2 devices."""
    return train_alone(cache, 4)


@pytest.fixture(scope="session")
def reference_on_two_devices(cache: Path) -> Path:
    """An uninterrupted long run of one process, on a mesh of 1 × 2 devices."""
    return train_alone(cache, 2, *LONG)


def train_alone(cache: Path, devices: int, *more: str) -> Path:
    workdir, log = cache / f"reference{devices}", cache / f"reference{devices}.log"
    with started(command(workdir, cache, devices, *more), log, **environment(cache)) as process:
        assert process.wait(SOON) == 0, log.read_text()
    return workdir
