"""Batches for training and evaluation, loaded in parallel."""

import gc
import itertools
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from src.data import images
from src.data.dataset import PreparedDataset
from src.data.loader import Batches, TrainLoader, eval_batches, permutation
from src.data.readers import OPEN_SPLITS, readers
from src.errors import UserError
from tests.support import datasets

SIZE, CROP, BATCH = 16, 12, 100
ALL = slice(None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> PreparedDataset:
    return datasets.prepared("digits", SIZE, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def train_images(prepared) -> np.ndarray:
    return all_images(prepared, "train")


def all_images(prepared: PreparedDataset, split: str) -> np.ndarray:
    jpegs, _ = prepared.records(split).read(np.arange(prepared.num_examples[split]))
    return np.stack([images.decode(jpeg) for jpeg in jpegs])


def batches(prepared: PreparedDataset, start: int = 0, stop: int = 3, **changes) -> Batches:
    settings = {"global_batch": BATCH, "crop": CROP, "seed": 0}
    augment = ConfigDict({"images_per_crop": 1, "shift": True, "mirror": True})
    rows = changes.pop("rows", ALL)
    for name in augment.keys() & changes.keys():
        augment[name] = changes.pop(name)
    loader = TrainLoader(prepared, augment, **settings | changes)
    return loader.batches(rows, range(start, stop))


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_train_batch_has_documented_shapes_and_types(prepared):
    (batch,) = batches(prepared, stop=1)
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "image": ((BATCH, CROP, CROP, 3), np.uint8),
        "label": ((BATCH,), np.int32),
        "offset": ((BATCH, 2), np.int32),
        "flip": ((BATCH,), np.bool_),
    }


def test_images_are_crops_of_records_with_their_labels(prepared, train_images):
    labels = prepared.records("train").read(np.arange(len(train_images)))[1]
    (batch,) = batches(prepared, stop=1)
    for image, label, (top, left), flip in zip(*batch.values(), strict=True):
        crops = train_images[:, top : top + CROP, left : left + CROP]
        crops = crops[:, :, ::-1] if flip else crops
        (matches,) = np.nonzero((crops == image).all((1, 2, 3)))
        assert label in labels[matches]
    assert batch["flip"].any()
    assert not batch["flip"].all()


def test_epoch_has_every_example_once_in_its_own_order(prepared, train_images):
    steps = -(-3 * len(train_images) // BATCH)  # three epochs of 14.37 batches
    images_of_epochs = np.concatenate(
        [batch["image"] for batch in batches(prepared, 0, steps, crop=SIZE, mirror=False)]
    )
    epochs = [images_of_epochs[i * len(train_images) :][: len(train_images)] for i in range(3)]
    expected = Counter(image.tobytes() for image in train_images)
    for epoch in epochs:
        assert Counter(image.tobytes() for image in epoch) == expected
    for one, other in itertools.combinations([train_images, *epochs], 2):
        assert (one == other).all((1, 2, 3)).mean() < 0.02


@pytest.mark.parametrize("num_examples", [1, 255, 1437, 70_000])
def test_permutation_is_numpys_in_at_most_four_bytes_per_example(num_examples):
    order = permutation(3, 44, num_examples)
    assert order.nbytes <= 4 * num_examples
    expected = np.random.default_rng([3, 44, 0]).permutation(num_examples)
    np.testing.assert_array_equal(order, expected)


def test_batch_can_be_larger_than_the_data_set(prepared):
    (batch,) = batches(prepared, stop=1, global_batch=3 * 1437, crop=SIZE, mirror=False)
    counts = Counter(image.tobytes() for image in batch["image"])
    assert all(count % 3 == 0 for count in counts.values())


def test_resumed_run_loads_the_batches_of_an_uninterrupted_run(prepared):
    uninterrupted = list(batches(prepared, 0, 20))
    resumed = list(batches(prepared, 13, 20))
    assert len(resumed) == 7
    for one, other in zip(uninterrupted[13:], resumed, strict=True):
        assert_same(one, other)


def test_seeds_give_different_batches(prepared):
    (one,), (other,) = batches(prepared, stop=1), batches(prepared, stop=1, seed=1)
    assert (one["offset"] != other["offset"]).any()
    assert (one["label"] != other["label"]).any()


@pytest.mark.parametrize("images_per_crop", [1, 32])
def test_processes_split_the_global_batch(prepared, images_per_crop):
    expected = list(batches(prepared, images_per_crop=images_per_crop))
    all_rows = [slice(0, 50), np.arange(50, BATCH)]
    parts = [batches(prepared, rows=rows, images_per_crop=images_per_crop) for rows in all_rows]
    for batch, *shares in zip(expected, *parts, strict=True):
        joined = {name: np.concatenate([p[name] for p in shares]) for name in batch}
        assert_same(batch, joined)


@pytest.mark.parametrize("global_batch", [90, 100, 512])  # 360 examples
def test_evaluation_loads_every_example_once_in_order(prepared, global_batch):
    expected = all_images(prepared, "test")
    labels = prepared.records("test").read(np.arange(360))[1]
    loaded = list(eval_batches(prepared, "test", ALL, global_batch=global_batch))
    for batch in loaded:
        assert batch["image"].shape == (global_batch, SIZE, SIZE, 3)
    joined = {name: np.concatenate([b[name] for b in loaded]) for name in loaded[0]}
    real = joined["mask"] == 1
    assert joined["mask"].sum() == real.sum() == 360
    assert joined["mask"].dtype == np.float32
    np.testing.assert_array_equal(joined["image"][real], expected)
    np.testing.assert_array_equal(joined["label"][real], labels)


def test_processes_split_the_evaluation_batches(prepared):
    expected = list(eval_batches(prepared, "test", ALL, global_batch=256))
    halves = [
        eval_batches(prepared, "test", slice(start, start + 128), global_batch=256)
        for start in (0, 128)
    ]
    *_, last = parts = list(zip(*halves, strict=True))
    assert last[1]["mask"].sum() == 0  # a process without examples still gets a batch
    for batch, (one, other) in zip(expected, parts, strict=True):
        assert_same(batch, {name: np.concatenate([one[name], other[name]]) for name in batch})


def open_shards(prepared: PreparedDataset) -> list[int]:
    """How many files of a data set this process, and each of its readers, have open."""
    process, directory = psutil.Process(), prepared.directory.resolve()
    return [
        sum(directory in Path(file.path).parents for file in each.open_files())
        for each in (process, *process.children(recursive=True))
    ]


def test_all_evaluations_share_the_open_files_of_a_split(prepared):
    own, *_ = open_shards(prepared)
    for _ in range(5 * readers().count):
        (batch,) = eval_batches(prepared, "test", ALL, global_batch=360)
        assert batch["mask"].all()
    still_own, *of_readers = open_shards(prepared)
    assert still_own == own
    assert 0 < max(of_readers) <= OPEN_SPLITS


def test_unused_data_set_has_no_open_files(prepared):
    own, *_ = open_shards(prepared)
    for _ in range(5 * readers().count):
        reopened = PreparedDataset(prepared.directory)
        next(eval_batches(reopened, "test", ALL, global_batch=360))
        next(batches(reopened, stop=10**9))
    del reopened
    gc.collect()
    still_own, *of_readers = open_shards(prepared)
    assert still_own == own
    assert 0 < max(of_readers) <= OPEN_SPLITS  # which its readers may still need


def test_images_that_fit_into_the_cache_are_decoded_once(prepared, tmp_path):
    copy = shutil.copytree(prepared.directory, tmp_path / "copy")
    cached, other = PreparedDataset(copy, cache_gb=1.0), PreparedDataset(copy, cache_gb=1e-6)
    expected = [*batches(prepared, 0, 16), *batches(prepared, 30, 32, crop=SIZE)]
    assert len(list(batches(cached, 0, 15))) == 15  # an epoch
    assert len(list(batches(other, 0, 15))) == 15
    (shard,) = copy.glob("*train.array_record*")
    shard.write_bytes(b"")
    again = [*batches(cached, 0, 16), *batches(cached, 30, 32, crop=SIZE)]
    for one, same in zip(expected, again, strict=True):
        assert_same(one, same)
    with pytest.raises(UserError, match="a file is damaged or missing"):
        next(batches(other))


def test_evaluation_and_training_share_the_cache(prepared, tmp_path):
    cached = PreparedDataset(prepared.directory, cache_gb=1.0)
    for split in ("train", "test", "train", "test"):
        expected = list(eval_batches(prepared, split, ALL, global_batch=100))
        for one, same in zip(
            expected, eval_batches(cached, split, ALL, global_batch=100), strict=True
        ):
            assert_same(one, same)
    for one, same in zip(batches(prepared), batches(cached), strict=True):
        assert_same(one, same)


def test_original_exception_of_a_reader_is_raised(prepared, tmp_path):
    damaged = PreparedDataset(shutil.copytree(prepared.directory, tmp_path / "damaged"))
    (shard,) = damaged.directory.glob("*train.array_record*")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged: a file is damaged or missing") as raised:
        list(batches(damaged))
    assert raised.value.__context__ is None


def test_closing_batches_stops_loading_soon(prepared):
    endless = batches(prepared, stop=10**9)
    next(endless)
    start = time.monotonic()
    endless.close()
    assert time.monotonic() - start < 5


def test_loading_leaves_the_gpus_to_jax(prepared):
    next(batches(prepared))
    assert tf.config.get_visible_devices("GPU") == []


@pytest.mark.slow
@pytest.mark.parametrize(("end", "status"), [("pass", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1)])
def test_process_can_exit_while_batches_are_loading(prepared, end, status):
    code = f"""
import sys
from pathlib import Path
from src.data.loader import TrainLoader
from src.data.dataset import PreparedDataset
from src.runs.defaults import default_config
augment = default_config().augment
dataset = PreparedDataset(Path(sys.argv[1]))
loader = TrainLoader(dataset, augment, crop=12, global_batch=100, seed=0)
next(loader.batches(slice(None), range(10**9)))
{end}
"""
    repository = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", code, prepared.directory], cwd=repository, timeout=60, check=False
    )
    assert ended.returncode == status
