"""What several commands print: tables, sizes and durations."""


def table(rows: list[list[str]], right_from: int = 1) -> list[str]:
    """Aligned columns; those from `right_from` on are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    formats = [f"{'<' if i < right_from else '>'}{width}" for i, width in enumerate(widths)]
    cells = [map(format, row, formats) for row in rows]
    return [f"  {'  '.join(row)}".rstrip() for row in cells]


def megabytes(count: float) -> str:
    """A number of bytes in MB, or in bytes if it is small."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e4 else f"{count:,.0f} B"


def duration(seconds: float) -> str:
    """The duration in the largest unit of which it has at least two."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
