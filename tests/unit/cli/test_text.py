"""Tables and durations, as commands print them."""

import pytest

from src.cli.text import duration, table


def test_table_aligns_columns() -> None:
    assert table([["a", "bc"], ["de", "f"]]) == ["  a   bc", "  de   f"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(119, "119 seconds"), (144, "2.4 minutes"), (7200, "2.0 hours"), (2.5 * 86400, "2.5 days")],
)
def test_duration_has_the_largest_unit_of_which_there_are_two(seconds: float, text: str) -> None:
    assert duration(seconds) == text
