"""Images that a prepared data set lacks, and errors that stop its preparation."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.errors import CommandError, UserError
from tests.support import datasets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images in each split, all different."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            (tmp_path / "animals" / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "animals" / split / name / f"{i}.png")
    return tmp_path / "animals"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


@pytest.mark.parametrize("number", ["ENOENT", "EACCES", "EIO", "ESTALE", "EMFILE", "ENOMEM"])
def test_error_of_the_system_stops_the_preparation(folder, root, monkeypatch, number):
    code = getattr(errno, number)
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.parent.name == "bee":
            raise OSError(code, os.strerror(code), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(CommandError, match=rf"val/bee/0\.png: {os.strerror(code)}") as raised:
        datasets.prepared(f"folder:{folder}", 8, root)
    assert raised.value.exit_status == 1
    assert [path for path in root.iterdir() if path.is_dir()] == []

    monkeypatch.undo()
    prepared = datasets.prepared(f"folder:{folder}", 8, root)
    assert prepared.num_examples == {"train": 6, "val": 6}


def test_missing_memory_stops_the_preparation(folder, root, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(CommandError, match=r"val/ant/0\.png: out of memory"):
        datasets.prepared(f"folder:{folder}", 8, root)


def test_class_without_a_readable_image_is_an_error(folder, root):
    for file in (folder / "train/bee").iterdir():
        file.write_text("not an image")
    with pytest.raises(UserError, match=r"none of the 3 images of train with label 'bee'.*bee/0"):
        datasets.prepared(f"folder:{folder}", 8, root)


def test_images_left_out_are_named_at_each_start(folder, root, caplog):
    (folder / "train/bee/0.png").write_text("not an image")
    for _ in range(2):
        caplog.clear()
        datasets.prepared(f"folder:{folder}", 8, root)
        assert "train: left out 1 of 6 images" in caplog.text
        assert "train/bee/0.png (not an image" in caplog.text


def test_images_that_are_not_left_out_are_counted(folder, root):
    (folder / "train/bee/0.png").write_text("not an image")
    assert datasets.prepared(f"folder:{folder}", 8, root).class_counts == [3, 2]


def test_dangling_link_is_left_out_until_it_is_repaired(folder, root, caplog):
    target = folder / "elsewhere.png"
    (folder / "train/bee/0.png").rename(target)
    (folder / "train/bee/0.png").symlink_to(target)
    target.rename(folder / "away.png")
    assert datasets.prepared(f"folder:{folder}", 8, root).num_examples["train"] == 5
    assert "train/bee/0.png (dangling link)" in caplog.text

    (folder / "away.png").rename(target)
    assert datasets.prepared(f"folder:{folder}", 8, root).num_examples["train"] == 6


def test_evaluation_image_that_is_also_trained_on_is_named_at_each_start(folder, root, caplog):
    (folder / "val/bee/1.png").write_bytes((folder / "train/ant/2.png").read_bytes())
    for _ in range(2):
        caplog.clear()
        prepared = datasets.prepared(f"folder:{folder}", 8, root)
        assert "val: 1 of 6 images are also in train" in caplog.text
    report = json.loads((prepared.directory / "report.json").read_text())
    assert report["val"]["in_train"] == ["val/bee/1.png"]
