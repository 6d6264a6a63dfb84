"""Speed of preparing photographs, in originals per second.

python -m benchmarks.preparing --photos=DIRECTORY [--cores=2]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import tensorflow_datasets  # noqa: F401, which takes a second, before the clock starts

from benchmarks import pipeline, worker
from src.data.preparation import prepare_dataset


def main() -> dict[str, Any]:
    """Prepares the photographs anew, and measures the time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cores", type=int, default=2)
    flags = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # only Linux has it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: flags.cores])
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        prepared = prepare_dataset(pipeline.section(flags.photos, root))
        seconds = time.perf_counter() - started
    return {"originals_per_second": sum(prepared.num_examples.values()) / seconds}


if __name__ == "__main__":
    worker.report(main)
