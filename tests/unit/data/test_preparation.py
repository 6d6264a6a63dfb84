"""Preparing a data set once, also with several processes and failures."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from src.data import images, preparation
from src.errors import UserError
from tests.support import datasets

REPOSITORY = Path(__file__).parents[3]
SIZE = 16


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five classes of ten training images and three for validation, all different."""
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 3)):
        for name in ("ant", "bee", "cat", "dog", "eel"):
            (tmp_path / "animals" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
                file = tmp_path / "animals" / split / name / f"{i}.png"
                Image.fromarray(pixels).save(file)
    return tmp_path / "animals"


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "prepared"


def finished(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and "incomplete" not in path.name]


def test_prepared_data_is_a_tfds_data_set(folder, root):
    prepared = datasets.prepared(f"folder:{folder}", SIZE, root)
    assert prepared.directory.parent == root
    assert prepared.directory.name.startswith(f"animals-{SIZE}px-")

    builder = tfds.builder_from_directory(prepared.directory)
    assert builder.info.features["label"].names == ["ant", "bee", "cat", "dog", "eel"]
    assert builder.info.supervised_keys == ("image", "label")
    examples = list(builder.as_data_source("val"))
    assert [example["file"].decode() for example in examples] == [
        f"val/{name}/{i}.png" for name in ("ant", "bee", "cat", "dog", "eel") for i in range(3)
    ]
    assert [example["label"] for example in examples] == [
        label for label in range(5) for _ in "123"
    ]
    assert examples[0]["image"].shape == (SIZE, SIZE, 3)


def test_prepared_data_has_names_splits_size_and_report(folder, root):
    prepared = datasets.prepared(f"folder:{folder}", SIZE, root)
    assert prepared.class_names == ["ant", "bee", "cat", "dog", "eel"]
    assert (prepared.train_split, prepared.eval_split) == ("train", "val")
    assert prepared.num_examples == {"train": 50, "val": 15}
    assert prepared.size == SIZE
    report = json.loads((prepared.directory / "report.json").read_text())
    assert report == {
        "train": {"examples": 50, "left_out": [], "class_counts": [10] * 5},
        "val": {"examples": 15, "left_out": [], "in_train": [], "class_counts": [3] * 5},
    }


def test_records_equal_what_prediction_reads_from_files(folder, root):
    records = datasets.prepared(f"folder:{folder}", SIZE, root).records("train")
    assert len(records) == 50
    jpegs, labels = records.read(np.array([49, 0, 12]))
    assert labels.dtype == np.int32
    assert labels.tolist() == [4, 0, 1]
    for jpeg, file in zip(jpegs, ("eel/9.png", "ant/0.png", "bee/2.png"), strict=True):
        np.testing.assert_array_equal(
            images.decode(jpeg), images.decode(images.prepare(folder / "train" / file, SIZE))
        )


def test_large_split_has_several_shards(folder, root, monkeypatch):
    monkeypatch.setattr(preparation, "EXAMPLES_PER_SHARD", 8)
    records = datasets.prepared(f"folder:{folder}", SIZE, root).records("train")
    assert len(list(root.glob("*/*train*array_record*"))) == 7
    assert records.read(np.arange(50))[1].tolist() == [i // 10 for i in range(50)]


def test_statistics_equal_numpys(folder, root):
    prepared = datasets.prepared(f"folder:{folder}", SIZE, root)
    jpegs, _ = prepared.records("train").read(np.arange(50))
    pixels = np.stack([images.decode(jpeg) for jpeg in jpegs]).astype(np.float64)
    mean, deviations, directions = prepared.statistics
    assert mean.dtype == deviations.dtype == directions.dtype == np.float32
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-6)

    covariance = np.cov(pixels.reshape(-1, 3), rowvar=False, bias=True)
    np.testing.assert_allclose(
        directions * deviations**2 @ directions.T, covariance, rtol=1e-4, atol=1e-2
    )
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    assert deviations[0] > deviations[1] > deviations[2] > 0


def test_gray_images_have_one_principal_component(root):
    statistics = datasets.prepared("digits", 8, root).statistics
    np.testing.assert_allclose(np.abs(statistics.directions[:, 0]), 3**-0.5, atol=1e-5)
    np.testing.assert_allclose(statistics.deviations[1:], 0, atol=1e-2)


def test_unreadable_files_are_skipped_and_reported(folder, root, caplog):
    (folder / "train" / "bee" / "0.png").write_text("not an image")
    (folder / "train" / "cat" / "empty.jpg").touch()
    prepared = datasets.prepared(f"folder:{folder}", SIZE, root)
    assert prepared.num_examples == {"train": 49, "val": 15}
    reasons = json.loads((prepared.directory / "report.json").read_text())["train"]["left_out"]
    assert [entry["file"] for entry in reasons] == ["train/bee/0.png", "train/cat/empty.jpg"]
    assert "not an image" in reasons[0]["reason"]
    assert "left out 2 of 51 images" in caplog.text
    assert "train/bee/0.png (not an image" in caplog.text

    labels = prepared.records("train").read(np.arange(49))[1]
    assert np.bincount(labels).tolist() == [10, 9, 10, 10, 10]


def test_file_name_need_not_be_utf_8(folder, root):
    file = folder / "train" / "bee" / "0.png"
    file.rename(os.fsdecode(os.fsencode(file.parent) + b"/caf\xe9.png"))
    assert datasets.prepared(f"folder:{folder}", SIZE, root).num_examples == {
        "train": 50,
        "val": 15,
    }


def test_split_of_unreadable_files_is_an_error(folder, root):
    for file in (folder / "val").rglob("*.png"):
        file.write_text("not an image")
    with pytest.raises(UserError, match=r"none of the 3 images of val.*'ant'.*val/ant/0\.png"):
        datasets.prepared(f"folder:{folder}", SIZE, root)
    assert finished(root) == []
    assert list(root.glob("*incomplete*")) == []


def test_second_call_reuses_the_prepared_data(folder, root, monkeypatch):
    first = datasets.prepared(f"folder:{folder}", SIZE, root)
    monkeypatch.setattr(images, "prepare", None)
    again = datasets.prepared(f"folder:{folder}", SIZE, str(root))
    assert again.directory == first.directory
    np.testing.assert_array_equal(again.statistics.mean, first.statistics.mean)


def test_other_size_or_changed_files_give_another_directory(folder, root):
    directories = {datasets.prepared(f"folder:{folder}", size, root).directory for size in (8, 16)}
    (folder / "train" / "ant" / "0.png").rename(folder / "train" / "ant" / "zero.png")
    directories.add(datasets.prepared(f"folder:{folder}", 16, root).directory)
    (folder / "train" / "ant" / "1.png").unlink()
    last = datasets.prepared(f"folder:{folder}", 16, root)
    assert last.num_examples["train"] == 49
    assert len(directories | {last.directory}) == 4


def test_order_does_not_depend_on_threads(folder, root, monkeypatch):
    prepare = images.prepare

    def prepare_slowly(image, size):
        time.sleep(0.01 * np.random.default_rng().random())
        return prepare(image, size)

    first = datasets.prepared(f"folder:{folder}", SIZE, root / "1")
    monkeypatch.setattr(images, "prepare", prepare_slowly)
    second = datasets.prepared(f"folder:{folder}", SIZE, root / "2")
    assert (
        first.records("train").read(np.arange(50))[0]
        == (second.records("train").read(np.arange(50))[0])
    )
    for one, other in zip(first.statistics, second.statistics, strict=True):
        np.testing.assert_array_equal(one, other)


def test_failure_leaves_no_files(folder, root, monkeypatch):
    monkeypatch.setattr(images, "decode", None)
    with pytest.raises(TypeError):
        datasets.prepared(f"folder:{folder}", SIZE, root)
    assert finished(root) == []
    assert list(root.glob("*incomplete*")) == []


def start(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


# Slow enough to be killed or waited for while it prepares.
SLOW_PREPARATION = """
import logging, sys, time
logging.basicConfig(level=logging.INFO)
from src.data import images
from tests.support.datasets import prepared
prepare = images.prepare
def prepare_slowly(image, size):
    time.sleep(float(sys.argv[3]))
    return prepare(image, size)
images.prepare = prepare_slowly
print(prepared(sys.argv[1], 16, sys.argv[2]).num_examples)
"""


def test_killed_process_leaves_no_finished_directory(folder, root):
    process = start(SLOW_PREPARATION, f"folder:{folder}", root, 5)
    deadline = time.monotonic() + 30
    while not (left := list(root.glob("*incomplete*/*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert left
    assert finished(root) == []

    prepared = datasets.prepared(f"folder:{folder}", SIZE, root)
    assert prepared.num_examples == {"train": 50, "val": 15}
    assert finished(root) == [prepared.directory]
    assert list(root.glob("*incomplete*")) == []


def test_second_process_waits_for_the_first(folder, root):
    both = [start(SLOW_PREPARATION, f"folder:{folder}", root, 0.2) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [out for out, _ in outputs] == ["{'train': 50, 'val': 15}\n"] * 2
    assert sorted("waiting" in err for _, err in outputs) == [False, True]
    assert len(finished(root)) == 1


def test_reading_does_not_import_tensorflow(folder, root):
    datasets.prepared(f"folder:{folder}", SIZE, root)
    process = start(
        "import sys, numpy; from tests.support.datasets import prepared\n"
        "prepared(sys.argv[1], 16, sys.argv[2]).records('train').read(numpy.arange(9))\n"
        "assert 'tensorflow' not in sys.modules",
        f"folder:{folder}",
        root,
    )
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def test_real_photographs_are_all_prepared(root):
    folder = REPOSITORY.parent / "shared" / "data" / "grocery10"
    if not folder.exists():
        pytest.skip("the photographs of groceries are not here")
    prepared = datasets.prepared(f"folder:{folder}", 32, root)
    assert prepared.num_examples == {"train": 1525, "test": 1286}
    assert len(prepared.class_names) == 10
