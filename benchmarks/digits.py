"""What part of the time training on digits waits for the next batch.

    python -m benchmarks.digits --root=FOLDER [--steps=60]

It trains by configs/small.py with the functions of src/train.py, reading each step's metrics one
step late as that does. While the loop waits for a batch, the device is still at work on the step
before; it waits itself only if that step is done when the batch arrives.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import worker
from configs import small
from src.data.loader import train_batches
from src.data.preparation import prepare_dataset
from src.distributed.mesh import local_rows, make_mesh, replicate, to_devices
from src.training.schedule import Cosine
from src.training.state import create_state
from src.training.step import make_train_step


def main() -> dict[str, Any]:
    """Trains for some steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    flags = parser.parse_args()
    config = small.get_config()
    config.data.root = str(flags.root)
    data = prepare_dataset(config.data)
    classes = len(data.class_names)
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
    state = create_state(config, classes, mesh)
    train_step = make_train_step(config, classes, mesh)
    statistics = replicate(mesh, data.statistics)
    schedule = Cosine(config.schedule.learning_rate, flags.steps)
    batches = train_batches(
        data,
        global_batch=config.batch_size,
        crop=config.model.image_size,
        seed=config.seed,
        rows=local_rows(mesh, config.batch_size),
        start_step=0,
        stop_step=flags.steps,
        images_per_crop=config.augment.images_per_crop,
        shift=config.augment.shift,
        mirror=config.augment.mirror,
    )
    warm_up, pending = 2, None  # steps; the metrics that were not read yet
    started = loop_waited = device_waited = 0.0
    for step in range(flags.steps):
        if step == warm_up:
            started, loop_waited, device_waited = time.perf_counter(), 0.0, 0.0
        asked = time.perf_counter()
        batch = next(batches)
        loop_waited += (waited := time.perf_counter() - asked)
        device_waited += waited * (pending is None or pending["loss"].is_ready())
        batch = to_devices(mesh, batch, config.batch_size)
        state, metrics = train_step(
            state, batch, statistics, np.float32(schedule.learning_rate(step))
        )
        jax.device_get(pending)
        pending = metrics
    jax.block_until_ready((state, metrics))
    seconds = time.perf_counter() - started
    return {
        "loop_waits": loop_waited / seconds,
        "device_waits": device_waited / seconds,
        "images_per_second": (flags.steps - warm_up) * config.batch_size / seconds,
    }


if __name__ == "__main__":
    worker.report(main)
