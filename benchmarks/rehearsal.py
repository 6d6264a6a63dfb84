"""Measures the costs that may grow with the number of images, at ImageNet's size.

    python -m benchmarks.rehearsal [--records=1281167] [--rounds=3] [--root=DIRECTORY] [--json=FILE]

The images are tiny, but files, metadata, splits and classes are as many as ImageNet's. The command
also measures a tenth and a hundredth of the images, to show what grows. The first call prepares all
images in `root`, which takes seven minutes and 0.9 GB. Each measurement is its own process, as in
benchmarks/run.py; benchmarks/at_size.py defines the measurements. Memory excludes pages of files
(Linux's RssAnon); peak memory includes them (VmHWM).
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.machine import Session
from benchmarks.run import RoundRobin
from benchmarks.table import AT_MOST, Row, Sections, print_sections
from benchmarks.worker import run_worker

IMAGENET = 1_281_167
SECONDS = (AT_MOST, 10.0)  # from the last import to the first batch, or to the first step
BYTES = (AT_MOST, 16.0)  # of memory for each additional image


def main() -> None:
    """Prepares the images, measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=IMAGENET, help="images to train on")
    parser.add_argument(
        "--smaller", default="100,10", help="divisors of the smaller sizes to compare with"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--root", type=Path, default=Path("prepared/rehearsal"), help="prepared data"
    )
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    flags = parser.parse_args()
    sizes = [flags.records // int(n) for n in flags.smaller.split(",")] + [flags.records]

    session = Session()
    data = [run_worker("at_size", root=flags.root, records=size, what="data") for size in sizes][-1]
    sections = measure(sizes, flags.root, flags.rounds)
    about = session.describe(flags.rounds)
    about["data"] = f"{data['bytes'] / 1e6:,.0f} MB, prepared in {data['seconds']:,.1f} s"
    print_sections(about, sections, flags.json)


def measure(sizes: list[int], root: Path, rounds: int) -> Sections:
    """Runs every measurement at every size; the targets apply to the last size."""
    full = sizes[-1]
    run_worker("at_size", root=root, records=full, what="halfway")
    measurements: dict[str, tuple[str, dict[str, Any]]] = {
        f"{what} {size}": ("at_size", {"root": root, "records": size, "what": what})
        for size in sizes
        for what in ("first", "middle", "memory", "resume")
        if size == full or what != "resume"
    }
    results = RoundRobin(rounds, measurements)

    def rows(what: str, field: str, scale: float, unit: str, **target: Any) -> list[Row]:
        return [
            Row(
                f"{size:,} images",
                results.values(f"{what} {size}", field, scale),
                unit,
                target.get("target") if size == full else None,
            )
            for size in sizes
        ]

    def growth(name: str, field: str) -> Row:
        least, most = (results.values(f"memory {size}", field) for size in (sizes[0], full))
        grown = [(b - a) / (full - sizes[0]) for a, b in zip(least, most, strict=True)]
        return Row(name, grown, "bytes", BYTES)

    return {
        "From the last import to the first batch": rows("first", "seconds", 1, "s", target=SECONDS),
        "The same in the middle of epoch 45": rows("middle", "seconds", 1, "s", target=SECONDS),
        "Shuffling an epoch": rows("middle", "shuffle_seconds", 1e3, "ms"),
        "Resuming a run there, until the metrics of a step are written": [
            Row(f"{full:,} images", results.values(f"resume {full}", "seconds"), "s", SECONDS)
        ],
        "Memory while loading around the end of an epoch": [
            *rows("memory", "bytes", 1e-6, "MB"),
            growth("for each additional image", "bytes"),
            growth("for each additional image, at the peak", "peak_bytes"),
        ],
    }


if __name__ == "__main__":
    main()
