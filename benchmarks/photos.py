"""Generates the same photographs at every call, in seconds and without a download.

    python -m benchmarks.photos --folder=DIRECTORY [--count=1000]

They are crops of scikit-learn's two sample photographs, enlarged to 500 × 375, which is common in
ImageNet: train/CLASS/*.jpg, and a few in val/.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from sklearn.datasets import load_sample_images

from benchmarks import worker

WIDTH, HEIGHT = 500, 375
QUALITY = 98  # gives files of 110 kB, ImageNet's average


def main() -> dict[str, Any]:
    """Writes the files and returns their mean size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    flags = parser.parse_args()
    random = np.random.default_rng(0)
    photographs = load_sample_images()
    num_bytes = 0
    for split, count in (("train", flags.count), ("val", 10)):
        for i in range(count):
            which = i % len(photographs.images)
            folder = flags.folder / split / Path(photographs.filenames[which]).stem
            folder.mkdir(parents=True, exist_ok=True)
            part = random_part(photographs.images[which], random)
            jpeg = simplejpeg.encode_jpeg(part, quality=QUALITY, colorsubsampling="420")
            num_bytes += (folder / f"{i:05d}.jpg").write_bytes(jpeg)
    return {"bytes_per_image": num_bytes / (flags.count + 10)}


def random_part(photograph: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A crop of 88 to 100% of the height, resized to (HEIGHT, WIDTH, 3)."""
    height = int(random.uniform(0.88, 1) * photograph.shape[0])
    width = height * WIDTH // HEIGHT
    top = random.integers(photograph.shape[0] - height, endpoint=True)
    left = random.integers(photograph.shape[1] - width, endpoint=True)
    part = photograph[top : top + height, left : left + width]
    return cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    worker.report(main)
