"""See tests/support/report.py."""

from tests.support.report import style  # noqa: F401
