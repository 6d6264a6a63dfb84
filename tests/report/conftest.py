from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

import tiny
from runs import trained
from src.report import svg


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(svg.STYLE):
        yield


@pytest.fixture(scope="session")
def workdir(cache: Path) -> Path:
    """A small run on digits, finished."""
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    return trained(config, cache / "report")
