"""The time and the memory that the page about a run takes.

    python -m benchmarks.report --workdir=DIR

With python -m src.main --config=configs/cifar.py:80sec --workdir=DIR, of CIFAR-10's 10,000 test
images, and as many among which neighbors are looked for.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks import worker
from src.report import page


def main() -> dict[str, Any]:
    """Writes the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", type=Path, required=True)
    started = time.perf_counter()
    path = page.write([parser.parse_args().workdir])
    return {
        "seconds": time.perf_counter() - started,
        "bytes": path.stat().st_size,
        "peak_bytes": worker.peak_bytes(),
    }


if __name__ == "__main__":
    worker.report(main)
