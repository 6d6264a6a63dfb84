from collections.abc import Iterator

import matplotlib
import pytest

from src.report import svg


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(svg.STYLE):
        yield
