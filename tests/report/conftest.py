from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

import tiny
from src.report import svg
from trained import trained


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(svg.STYLE):
        yield


@pytest.fixture(scope="session")
def workdir(cache: Path) -> Path:
    """A small run on digits, finished."""
    return trained(cache, "report", tiny.get_config())
