"""Training speed and peak memory of this project, with its two towers on one or two devices.

    python -m benchmarks.towers [--devices=2] [--batch=128] [--seconds=10]

It runs the training step of configs/alexnet.py, about half a minute in all: a uint8 batch goes to
the devices; the compiled step subtracts the mean image, adds color noise, applies dropout, updates.
"""

from typing import Any

import jax
import numpy as np

from benchmarks import training, worker
from configs import alexnet
from src.data.statistics import Statistics
from src.distributed.devices import keep_memory
from src.distributed.mesh import make_mesh, replicate, to_devices
from src.training.state import create_state
from src.training.step import make_train_step


def main() -> dict[str, Any]:
    """Trains on the same batch repeatedly."""
    flags = training.parse(devices=1)
    keep_memory()  # as commands do
    jax.config.update("jax_num_cpu_devices", flags.devices)
    config = alexnet.paper("imagenet2012")
    config.batch_size = flags.batch
    config.mesh.model = str(flags.devices)
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=flags.batch)
    state = create_state(config, training.CLASSES, mesh)
    train_step = make_train_step(config, training.CLASSES, mesh)
    batch, statistics = training.random_batch(flags.batch), replicate(mesh, random_statistics())
    learning_rate = np.float32(config.schedule.learning_rate)

    def step() -> None:
        nonlocal state
        on_devices = to_devices(mesh, batch, flags.batch)
        state, metrics = train_step(state, on_devices, statistics, learning_rate)
        jax.block_until_ready((state, metrics))

    return training.measure(step, flags)


def random_statistics() -> Statistics:
    """Plausible deviations of colors, and a mean image of noise."""
    return Statistics(
        training.random_mean(), np.array([110, 30, 12], np.float32), np.eye(3, dtype=np.float32)
    )


if __name__ == "__main__":
    worker.report(main)
