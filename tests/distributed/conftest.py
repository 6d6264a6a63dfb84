from pathlib import Path

import pytest

from tests.support.commands import environment
from tests.support.launched import SOON, command, started


@pytest.fixture(scope="session")
def reference(cache: Path) -> Path:
    """An uninterrupted run of one process, on a mesh of 2 × 2 devices."""
    workdir, log = cache / "reference", cache / "reference.log"
    with started(command(workdir, cache, 4), log, **environment(cache)) as process:
        assert process.wait(SOON) == 0, log.read_text()
    return workdir
