"""The time to find the nearest of as many feature vectors as ImageNet has training images.

    python -m benchmarks.retrieval [--vectors=1281167] [--units=4096] [--queries=16] [--k=6]

The vectors, 21 GB of them, are random numbers that are made a chunk at a time, as src/retrieval.py
is given them. Only the search is timed: each chunk's way to the device, the distances, and the k
nearest up to there, on the host.
"""

import argparse
import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import worker
from src.inference.nearest import CHUNK_BYTES, NearestNeighbors


def main() -> dict[str, Any]:
    """Searches once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vectors", type=int, default=1_281_167)
    parser.add_argument("--units", type=int, default=4096)
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--k", type=int, default=6)
    flags = parser.parse_args()

    random = np.random.default_rng(0)
    queries = random.random((flags.queries, flags.units), np.float32)
    rows = min(flags.vectors, CHUNK_BYTES // (4 * flags.units))
    found = NearestNeighbors(queries, flags.k)
    NearestNeighbors(queries, flags.k).add(
        random.random((rows, flags.units), np.float32)
    )  # compiles
    seconds = 0.0
    with tqdm(total=flags.vectors, unit=" vectors", mininterval=1) as bar:
        for start in range(0, flags.vectors, rows):
            count = min(rows, flags.vectors - start)
            chunk = random.random((count, flags.units), np.float32)
            started = time.perf_counter()
            found.add(chunk)
            seconds += time.perf_counter() - started
            bar.update(count)
    return {
        "seconds": seconds,
        "vectors": flags.vectors,
        "bytes_per_second": 4 * flags.vectors * flags.units / seconds,
        "peak_bytes": worker.peak_bytes(),
        "device": jax.devices()[0].device_kind,
    }


if __name__ == "__main__":
    worker.report(main)
