"""Time and memory of one process with a training set of a given size, for benchmarks/rehearsal.py.

    python -m benchmarks.at_size --root=DIRECTORY --records=N --what=MEASUREMENT

The images are tiny. TFDS's split arithmetic repeats a data set of 8,192 images until there are N;
this project then prepares them like any other images. A measurement takes seconds, `data` minutes.

  data      prepares the images: seconds, and the size of the files in bytes
  first     opens the prepared data and loads the first batch: seconds
  middle    the same for the first batch in the middle of epoch 45, and for shuffling alone
  memory    loads 200 batches around the end of epoch 45, where the order changes: bytes
  halfway   creates a run that stopped in the middle of epoch 45
  resume    resumes that run like `python -m src.main` until a step's metrics are written: seconds

Times exclude imports, which do not depend on the size of the training set.
"""

import argparse
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from benchmarks import worker
from configs.alexnet import paper
from src.data import images
from src.data.loader import Batches, TrainLoader, permutation
from src.data.preparation import prepare_dataset
from src.distributed.environment import process_info
from src.distributed.mesh import make_mesh
from src.distributed.process_group import ProcessGroup
from src.runs.checkpoint import Checkpointer
from src.runs.config import write_config
from src.runs.preprocessing import Preprocessing, write_preprocessing
from src.training.loop import train
from src.training.periods import Periods
from src.training.schedule import make_schedule
from src.training.state import Progress, TrainState, create_state, to_checkpoint

IMAGENET = {"train": 1_281_167, "validation": 50_000}
CLASSES = 1000
ORIGINALS, SIZE, CROP = 8192, 16, 14
MIDDLE, END = Fraction(89, 2), 45  # of epoch 45, in epochs
AROUND = 100  # batches loaded before and after the end


def main() -> dict[str, Any]:
    """Runs one measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--records", type=int, default=IMAGENET["train"])
    parser.add_argument("--what", choices=MEASUREMENTS, required=True)
    flags = parser.parse_args()
    return MEASUREMENTS[flags.what](recipe(flags.root, flags.records), flags.records)


def recipe(root: Path, records: int) -> ConfigDict:
    """The paper's recipe with a network of few maps for tiny images."""
    config = paper("rehearsal")
    config.data.size = SIZE
    config.data.root = str(root)
    config.data.tfds_dir = str(root / "originals")
    config.data.train_split = repeated("train", records)
    eval_records = -(-records * IMAGENET["validation"] // IMAGENET["train"])
    config.data.eval_split = repeated("validation", eval_records)
    config.log_every = 1
    config.model.image_size = CROP
    config.model.convs.conv1.update(size=3, stride=1)
    for layer in config.model.convs.values():
        layer.maps = 8
    config.model.dense.fc6.units = config.model.dense.fc7.units = 8
    return config


def repeated(split: str, records: int) -> str:
    """The expression that repeats the originals of a split until there are `records` images."""
    times, rest = divmod(records, ORIGINALS)
    return "+".join([split] * times + [f"{split}[:{rest}]"] * (rest > 0))


def make_data(config: ConfigDict, records: int) -> dict[str, Any]:  # noqa: ARG001
    """Prepares the originals, and generates them first if they are missing."""
    started = time.perf_counter()
    originals = Path(config.data.tfds_dir) / "rehearsal" / "1.0.0"
    if not originals.exists():
        incomplete = originals.with_name("incomplete")
        shutil.rmtree(incomplete, ignore_errors=True)
        incomplete.mkdir(parents=True)
        write_originals(incomplete)
        incomplete.rename(originals)
    files = prepare_dataset(config.data).directory.iterdir()
    size = sum(file.stat().st_size for file in files)
    return {"seconds": time.perf_counter() - started, "bytes": size}


def write_originals(directory: Path) -> None:
    """A TFDS data set of squares of one color each."""
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=[f"class {i}" for i in range(CLASSES)]),
        }
    )
    identity = tfds.core.DatasetIdentity(
        name="rehearsal",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(directory),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features, supervised_keys=("image", "label")
    )
    writer = tfds.core.SequentialWriter(info, ORIGINALS, file_format="array_record")
    writer.initialize_splits(["train", "validation"])
    colors = np.random.default_rng(0).integers(0, 256, (2 * ORIGINALS, 1, 1, 3), np.uint8)
    squares = (np.tile(color, (SIZE, SIZE, 1)) for color in colors)
    examples = [
        {"image": images.encode(square), "label": i % CLASSES} for i, square in enumerate(squares)
    ]
    writer.add_examples({"train": examples[:ORIGINALS], "validation": examples[ORIGINALS:]})
    writer.close_all()


def open_at(config: ConfigDict, step: int) -> Batches:
    """The batches of a run from a step on, as in training."""
    loader = TrainLoader(
        prepare_dataset(config.data),
        config.augment,
        crop=CROP,
        global_batch=config.batch_size,
        seed=config.seed,
    )
    return loader.batches(slice(None), range(step, 10**9))


def first_batch(config: ConfigDict, step: int) -> dict[str, Any]:
    """Seconds until the first batch of a process that starts at a step."""
    started = time.perf_counter()
    next(open_at(config, step))
    return {"seconds": time.perf_counter() - started}


def at_start(config: ConfigDict, records: int) -> dict[str, Any]:  # noqa: ARG001
    """Seconds until the first batch of a new run."""
    return first_batch(config, 0)


def in_the_middle(config: ConfigDict, records: int) -> dict[str, Any]:
    """Seconds until the first batch of a resumed run, and of the shuffling alone."""
    result = first_batch(config, int(MIDDLE * records / config.batch_size))
    started = time.perf_counter()
    permutation.__wrapped__(config.seed, int(MIDDLE), records)  # not the cached one
    return result | {"shuffle_seconds": time.perf_counter() - started}


def memory(config: ConfigDict, records: int) -> dict[str, Any]:
    """Memory of a process that loads batches, and its peak, in bytes."""
    batches = open_at(config, max(0, END * records // config.batch_size - AROUND))
    for _ in range(2 * AROUND):
        next(batches)
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    in_bytes = {name: int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "VmHWM")}
    return {"bytes": in_bytes["RssAnon"], "peak_bytes": in_bytes["VmHWM"]}


def stop_halfway(config: ConfigDict, records: int) -> dict[str, Any]:
    """Saves a checkpoint of an untrained network in the middle of epoch 45."""
    data = prepare_dataset(config.data)
    mesh = make_mesh(config.mesh, towers=config.model.towers, batch_size=config.batch_size)
    state = create_state(config, CLASSES, mesh)
    step = int(MIDDLE * records / config.batch_size)
    periods = Periods.from_config(config, data.num_examples[data.train_split])
    schedule = make_schedule(config.schedule, periods)
    workdir = run_directory(config, records)
    shutil.rmtree(workdir, ignore_errors=True)
    with Checkpointer(workdir) as checkpointer:
        stopped = TrainState(jnp.int32(step), state.params, state.velocity)
        checkpointer.save(to_checkpoint(stopped, Progress(schedule.state(), evaluated=step)), 0)
    preprocessing = Preprocessing(
        data.directory.name, data.class_names, data.statistics, data.in_train
    )
    write_preprocessing(workdir, preprocessing)
    write_config(workdir, config)
    (workdir / "metrics.jsonl").touch()
    return {"step": step}


def resume(config: ConfigDict, records: int) -> dict[str, Any]:
    """Seconds from the start until the metrics of a step are in their file."""
    metrics = run_directory(config, records) / "metrics.jsonl"
    before, seconds = metrics.read_text(), []

    def stop_after_a_step() -> None:
        while metrics.read_text() == before:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - started)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_after_a_step, daemon=True).start()
    started = time.perf_counter()
    train(config, metrics.parent, ProcessGroup(process_info({}), config.processes))
    return {"seconds": seconds[0]}


def run_directory(config: ConfigDict, records: int) -> Path:
    """The directory of the run that is resumed."""
    return Path(config.data.root) / "runs" / f"{records}"


MEASUREMENTS: dict[str, Callable[[ConfigDict, int], dict[str, Any]]] = {
    "data": make_data,
    "first": at_start,
    "middle": in_the_middle,
    "memory": memory,
    "halfway": stop_halfway,
    "resume": resume,
}

if __name__ == "__main__":
    worker.report(main)
