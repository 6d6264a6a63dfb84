"""Loading speed of three pipelines in images per second, without training.

    python -m benchmarks.pipeline --photos=DIRECTORY --root=DIRECTORY [--loader=tfdata]

It takes ten seconds, and once the preparation. A loader yields batches of 128 random 224-crops,
half of them mirrored. `serial_microseconds` is the CPU time of this process for an image; it bounds
the time for which the process holds Python's lock. The readers of `ours` are other processes.

  ours           this project's loader, from the data set that it prepares in `root`
  tfdata         a plain tf.data pipeline that decodes and resizes the original files
  tfdata-small   a plain tf.data pipeline that decodes the prepared JPEGs, already in memory
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from benchmarks import worker
from src.data.dataset import PreparedDataset
from src.data.loader import TrainLoader
from src.data.preparation import prepare_dataset
from src.runs.defaults import default_config

CROP, SIZE = 224, 256


def main() -> dict[str, Any]:
    """Prepares the photographs if necessary, and measures one loader."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--loader", choices=LOADERS, default="ours")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--cache_gb", type=float, default=0, help="for decoded images, of `ours`")
    parser.add_argument("--seconds", type=float, default=5)
    flags = parser.parse_args()
    prepared = prepare_dataset(section(flags.photos, flags.root, flags.cache_gb))
    batches = LOADERS[flags.loader](flags.photos, prepared, flags.batch)
    for _ in range(-(-prepared.num_examples["train"] // flags.batch)):
        next(batches)  # by then all is imported, and in the cache
    images, started = 0, time.process_time()

    def take() -> None:
        nonlocal images
        next(batches)
        images += flags.batch

    speed = worker.calls_per_second(take, flags.seconds / 2, flags.seconds)
    return {
        "images_per_second": speed * flags.batch,
        "serial_microseconds": 1e6 * (time.process_time() - started) / images,
        "original_bytes": np.mean([file.stat().st_size for file in _files(flags.photos)]),
        "prepared_bytes": np.mean([len(jpeg) for jpeg in _jpegs(prepared)]),
    }


def section(photos: Path, root: str | Path, cache_gb: float = 0.0) -> ConfigDict:
    """`config.data` of a directory of photographs."""
    fields = default_config().data
    fields.update(dataset=f"folder:{photos}", size=SIZE, root=str(root), cache_gb=cache_gb)
    return fields


def ours(photos: Path, prepared: PreparedDataset, batch: int) -> Iterator[Any]:  # noqa: ARG001
    """The batches that training uses."""
    augment = default_config().augment
    loader = TrainLoader(prepared, augment, crop=CROP, global_batch=batch, seed=0)
    return loader.batches(slice(None), range(10**9))


def originals(photos: Path, prepared: PreparedDataset, batch: int) -> Iterator[Any]:  # noqa: ARG001
    """Decodes and resizes the original files."""

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        sides = tf.cast(tf.shape(image)[:2], tf.float32)
        sides = tf.cast(tf.round(sides * (SIZE / tf.reduce_min(sides))), tf.int32)
        return _augment(tf.cast(tf.image.resize(image, sides), tf.uint8))

    paths = [str(path) for path in _files(photos)]
    return _batches(paths, load, batch)


def small(photos: Path, prepared: PreparedDataset, batch: int) -> Iterator[Any]:  # noqa: ARG001
    """Decodes the prepared JPEGs with TensorFlow's decoder."""
    return _batches(
        _jpegs(prepared), lambda jpeg: _augment(tf.io.decode_jpeg(jpeg, channels=3)), batch
    )


LOADERS = {"ours": ours, "tfdata": originals, "tfdata-small": small}


def _augment(image: tf.Tensor) -> tf.Tensor:
    return tf.image.random_flip_left_right(tf.image.random_crop(image, (CROP, CROP, 3)))


def _batches(elements: list[Any], load: Any, batch: int) -> Iterator[Any]:
    dataset = tf.data.Dataset.from_tensor_slices(elements).repeat().shuffle(len(elements))
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def _files(photos: Path) -> list[Path]:
    return [path for path in (photos / "train").glob("*/*") if path.is_file()]


def _jpegs(prepared: PreparedDataset) -> list[bytes]:
    records = prepared.records("train")
    return records.read(np.arange(len(records)))[0]


if __name__ == "__main__":
    worker.report(main)
