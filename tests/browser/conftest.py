"""A browser, and the fixtures of tests/support/report.py."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.report import style, workdir  # noqa: F401


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as playwright starts it."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
