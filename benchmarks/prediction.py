"""How fast photographs in files are predicted, and how soon the first.

    python -m benchmarks.prediction --photos=FOLDER --root=FOLDER

The network is the paper's, trained for a step on the photographs. The files are read, decoded and
resized while others are computed; beside it, the same images from memory.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import worker
from configs import alexnet
from src.data.image_files import find_images
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.inference.classifier import load
from src.training.loop import train


def main() -> dict[str, Any]:
    """Trains if that is not done yet, and predicts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    flags = parser.parse_args()
    workdir = flags.root / "prediction"
    config = alexnet.paper(f"folder:{flags.photos}")
    config.data.root = str(flags.root)
    config.duration, config.views = "1 step", 1
    with ProcessGroup(process_info({}), config.processes) as team:
        train(config, workdir, team)

    photos = [image.original for image in find_images([str(flags.photos)])]
    command = [sys.executable, "-m", "src.predict", f"--workdir={workdir}", str(photos[0])]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    first_answer = time.perf_counter() - started

    classifier = load(workdir)
    some = np.zeros((classifier.max_batch, 256, 256, 3), np.uint8)
    images = np.concatenate([some] * max(1, len(photos) // len(some)))
    classifier(some)  # compiles
    started = time.perf_counter()
    classifier(images)
    from_memory = len(images) / (time.perf_counter() - started)

    started = time.perf_counter()
    answers = sum(answer.output is not None for answer in classifier.predict_files(photos))
    from_files = answers / (time.perf_counter() - started)
    return {
        "files_per_second": from_files,
        "forward_per_second": from_memory,
        "first_answer_seconds": first_answer,
    }


if __name__ == "__main__":
    worker.report(main)
