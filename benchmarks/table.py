"""A table of measurements with their targets."""

import json
import operator
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AT_LEAST, AT_MOST = "≥", "≤"
MEETS = {AT_LEAST: operator.ge, AT_MOST: operator.le}


@dataclass(frozen=True)
class Row:
    """A measurement's value in each round, and the target of the median."""

    name: str
    values: list[float]
    unit: str = ""
    target: tuple[str, float] | None = None  # (AT_LEAST or AT_MOST, number)

    def summary(self) -> dict[str, Any]:
        """The row as JSON."""
        median = statistics.median(self.values)
        result = {"name": self.name, "unit": self.unit, "median": median, "values": self.values}
        if self.target:
            relation, number = self.target
            result |= {"target": f"{relation} {number:,g}", "met": MEETS[relation](median, number)}
        return result

    def cells(self) -> list[str]:
        """The row's cells in the table."""
        summary = self.summary()
        unit = f" {self.unit}" if self.unit else ""
        target = f"{self.target[0]} {self.target[1]:,g}{unit}" if self.target else ""
        return [
            self.name,
            f"{_digits(summary['median'])}{unit}",
            f"{_digits(min(self.values))} – {_digits(max(self.values))}",
            target,
            {None: "", True: "pass", False: "FAIL"}[summary.get("met")],
        ]


Sections = dict[str, list[Row]]
"""Rows by the title of their section."""


def ratio(name: str, above: list[float], below: list[float], target: tuple[str, float]) -> Row:
    """The ratio of two measurements in each round."""
    return Row(name, [a / b for a, b in zip(above, below, strict=True)], "×", target)


def render(sections: Sections) -> str:
    """The table in Markdown, with aligned columns."""
    lines = [["", "median", "min – max", "target", ""]]
    for title, rows in sections.items():
        lines += [[f"**{title}**", "", "", "", ""], *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def print_sections(about: dict[str, Any], sections: Sections, file: Path | None) -> None:
    """Prints a description of the session and the table, and writes both to `file` as JSON."""
    print(*(f"{name}: {value}" for name, value in about.items()), "", sep="\n")
    print(render(sections))
    if file:
        rows = {title: [row.summary() for row in rows] for title, rows in sections.items()}
        file.write_text(json.dumps({**about, "results": rows}, indent=2, ensure_ascii=False))


def _digits(x: float) -> str:
    decimals = 0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2
    return f"{x:,.{decimals}f}"
