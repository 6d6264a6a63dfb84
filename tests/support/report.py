"""Fixtures for the report's tests."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

from src.figures import theme


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(theme.STYLE):
        yield


@pytest.fixture(scope="session")
def workdir(digits_run: Path) -> Path:
    return digits_run
