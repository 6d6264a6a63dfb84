"""Functions that the training benchmarks share; imports neither JAX nor PyTorch."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import worker

CLASSES = 1000
CROP, SIZE = 224, 256  # height and width of the network's input, and of the prepared images


def parse(**more: int) -> argparse.Namespace:
    """The flags of a training benchmark; `more` are additional integers and their defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10)
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def random_batch(size: int) -> dict[str, np.ndarray]:
    """Noise of the shapes and types that src.data.loader yields."""
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (size, CROP, CROP, 3), np.uint8),
        "label": random.integers(0, CLASSES, size, np.int32),
        "offset": random.integers(0, SIZE - CROP + 1, (size, 2), np.int32),
        "flip": random.random(size) < 0.5,
    }


def random_mean() -> np.ndarray:
    """A mean image: float32 (SIZE, SIZE, 3)."""
    return np.random.default_rng(1).uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32)


def measure(step: Callable[[], object], flags: argparse.Namespace) -> dict[str, Any]:
    """Speed and peak memory of `step`, which trains on one batch and waits for the result."""
    steps = worker.calls_per_second(step, warm_up=0, seconds=flags.seconds)
    return {"images_per_second": steps * flags.batch, "peak_bytes": worker.peak_bytes()}
