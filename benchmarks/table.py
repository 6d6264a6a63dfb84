"""A table of measurements, their targets, and whether they are met."""

import operator
import statistics
from dataclasses import dataclass
from typing import Any

AT_LEAST, AT_MOST = "≥", "≤"
MEETS = {AT_LEAST: operator.ge, AT_MOST: operator.le}


@dataclass(frozen=True)
class Row:
    """What a measurement gave in each round, and what its median should be."""

    name: str
    values: list[float]
    unit: str = ""
    target: tuple[str, float] | None = None  # (AT_LEAST or AT_MOST, number)

    def summary(self) -> dict[str, Any]:
        """All there is to tell, as JSON."""
        median = statistics.median(self.values)
        result = {"name": self.name, "unit": self.unit, "median": median, "values": self.values}
        if self.target:
            relation, number = self.target
            result |= {"target": f"{relation} {number:,g}", "met": MEETS[relation](median, number)}
        return result

    def cells(self) -> list[str]:
        """A line of the table."""
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


def ratio(name: str, above: list[float], below: list[float], target: tuple[str, float]) -> Row:
    """Of what two measurements gave in the same round."""
    return Row(name, [a / b for a, b in zip(above, below, strict=True)], "×", target)


def render(sections: dict[str, list[Row]]) -> str:
    """The table in Markdown, its columns aligned."""
    lines = [["", "median", "min – max", "target", ""]]
    for title, rows in sections.items():
        lines += [[f"**{title}**", "", "", "", ""], *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _digits(x: float) -> str:
    decimals = 0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2
    return f"{x:,.{decimals}f}"
