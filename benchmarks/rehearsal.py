"""Measures what might grow with the number of images, at ImageNet's, and prints one table.

    python -m benchmarks.rehearsal [--records=1281167] [--rounds=3] [--root=FOLDER] [--json=FILE]

The images are tiny, but their files, metadata, splits and classes are as many as ImageNet's. A
tenth and a hundredth of the images are measured too, to tell what grows. Preparing them all takes
seven minutes and 0.9 GB, once: they are kept in `root`. Each measurement is a process of its own,
as in benchmarks/run.py; benchmarks/at_size.py has what it does. Memory is that of no file (RssAnon
of Linux); its peak is of all (VmHWM).
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import OtherPrograms
from benchmarks.run import InTurns, Sections
from benchmarks.table import AT_MOST, Row, render
from benchmarks.worker import CORES, alone
from src.runs.system_info import describe_system

IMAGENET = 1_281_167
SECONDS = (AT_MOST, 10.0)  # from the last import to the first batch, or to the first step
BYTES = (AT_MOST, 16.0)  # of memory for a further image


def main() -> None:
    """Prepares, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=IMAGENET, help="images to train on")
    parser.add_argument("--smaller", default="100,10", help="what to divide them by to compare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path("prepared/rehearsal"), help="the data")
    parser.add_argument("--json", type=Path, help="a file to keep the numbers in")
    flags = parser.parse_args()
    sizes = [flags.records // int(n) for n in flags.smaller.split(",")] + [flags.records]

    about, others = describe_system(), OtherPrograms()
    data = [alone("at_size", root=flags.root, records=size, what="data") for size in sizes][-1]
    about["data"] = f"{data['bytes'] / 1e6:,.0f} MB, there after {data['seconds']:,.1f} s"
    sections = measure(sizes, flags.root, flags.rounds)
    about["measured"] = (
        f"on {CORES} cores, {flags.rounds} rounds; "
        f"meanwhile other programs used {others.cores():.2f} cores"
    )

    print(*(f"{name}: {value}" for name, value in about.items()), "", sep="\n")
    print(render(sections))
    if flags.json:
        rows = {title: [row.summary() for row in rows] for title, rows in sections.items()}
        flags.json.write_text(json.dumps({**about, "results": rows}, indent=2, ensure_ascii=False))


def measure(sizes: list[int], root: Path, rounds: int) -> Sections:
    """Each of the measurements for each of the sizes, the last of which has the targets."""
    full = sizes[-1]
    alone("at_size", root=root, records=full, what="halfway")
    candidates: dict[str, tuple[str, dict[str, Any]]] = {
        f"{what} {size}": ("at_size", {"root": root, "records": size, "what": what})
        for size in sizes
        for what in ("first", "middle", "memory", "resume")
        if size == full or what != "resume"
    }
    results = InTurns(rounds, candidates)

    def rows(what: str, field: str, scale: float, unit: str, **target: Any) -> list[Row]:
        return [
            Row(
                f"{size:,} images",
                results(f"{what} {size}", field, scale),
                unit,
                target.get("target") if size == full else None,
            )
            for size in sizes
        ]

    def growth(name: str, field: str) -> Row:
        least, most = (results(f"memory {size}", field) for size in (sizes[0], full))
        grown = [(b - a) / (full - sizes[0]) for a, b in zip(least, most, strict=True)]
        return Row(name, grown, "bytes", BYTES)

    return {
        "From the last import to the first batch": rows("first", "seconds", 1, "s", target=SECONDS),
        "The same in the middle of epoch 45": rows("middle", "seconds", 1, "s", target=SECONDS),
        "Shuffling an epoch": rows("middle", "shuffle_seconds", 1e3, "ms"),
        "Going on there with a run, until the metrics of a step are written": [
            Row(f"{full:,} images", results(f"resume {full}", "seconds"), "s", SECONDS)
        ],
        "Memory while loading around the end of an epoch": [
            *rows("memory", "bytes", 1e-6, "MB"),
            growth("for a further image", "bytes"),
            growth("for a further image, at the peak", "peak_bytes"),
        ],
    }


if __name__ == "__main__":
    main()
