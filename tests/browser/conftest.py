"""See tests/support/report.py."""

from tests.support.report import style, workdir  # noqa: F401
