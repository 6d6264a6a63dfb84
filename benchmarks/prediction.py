"""Speed of prediction on files and on images in memory, and the time to the first answer.

    python -m benchmarks.prediction --photos=DIRECTORY --root=DIRECTORY

It takes about a minute for a thousand photographs. The network is the paper's, trained on them for
one step. The classifier reads, decodes and resizes files while it computes others.
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
    """Trains if necessary, and measures prediction."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    flags = parser.parse_args()
    workdir = flags.root / "prediction"
    config = alexnet.paper(f"folder:{flags.photos}")
    config.data.root = str(flags.root)
    config.duration, config.views = "1 step", 1
    with ProcessGroup(process_info({}), config.processes) as group:
        train(config, workdir, group)

    photos = [image.original for image in find_images([str(flags.photos)])]
    command = [sys.executable, "-m", "src.predict", f"--workdir={workdir}", str(photos[0])]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    first_answer = time.perf_counter() - started

    classifier = load(workdir)
    batch = np.zeros((classifier.max_batch, 256, 256, 3), np.uint8)
    images = np.concatenate([batch] * max(1, len(photos) // len(batch)))
    classifier(batch)  # compiles
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
