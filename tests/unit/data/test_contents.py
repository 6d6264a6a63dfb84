"""Prepared data belong to the contents of the files that they were prepared from."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src import filesystem
from src.data import contents, images, preparation
from src.data.dataset import PreparedDataset
from tests.support import datasets


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the files that are read."""
    files: list[str] = []

    def read(path: Path) -> bytes:
        files.append("/".join(path.parts[-3:]))
        return filesystem.read_file(path)

    for module in (contents, preparation):
        monkeypatch.setattr(module, "read_file", read)
    return files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def write_bitmaps(folder: Path, seed: int) -> Path:
    """Writes a folder whose files have the same names and sizes for each seed, and are old."""
    random = np.random.default_rng(seed)
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            for i in range(2):
                write_bitmap(folder / split / name / f"{i}.bmp", random.integers(256), age=100)
    return folder


def write_bitmap(file: Path, gray: int, age: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (int(gray),) * 3).save(file)
    changed = file.stat().st_mtime_ns - age * 10**9
    os.utime(file, ns=(changed, changed))


def prepared(folder: Path, root: Path) -> PreparedDataset:
    return datasets.prepared(f"folder:{folder}", 8, root)


def grays(data: PreparedDataset) -> list[int]:
    encoded, _ = data.records("train").read(range(4))
    return [int(images.decode(image)[0, 0, 0]) for image in encoded]


def grays_of(folder: Path) -> list[int]:
    files = sorted((folder / "train").rglob("*.bmp"))
    return [int(np.asarray(Image.open(file))[0, 0, 0]) for file in files]


def test_folders_of_the_same_names_and_sizes_are_prepared_apart(tmp_path, root):
    folders = [write_bitmaps(tmp_path / place / "animals", seed) for seed, place in enumerate("ab")]
    data = [prepared(folder, root) for folder in folders]
    assert data[0].directory != data[1].directory
    for _ in range(2):
        assert [grays(prepared(folder, root)) for folder in folders] == list(map(grays_of, folders))


def test_equal_folders_share_their_prepared_data(tmp_path, root):
    folders = [write_bitmaps(tmp_path / place / "animals", seed=0) for place in "ab"]
    assert len({prepared(folder, root).directory for folder in folders}) == 1
    assert list(root.glob("*incomplete*")) == []


def test_file_that_is_edited_in_place_is_prepared_again(tmp_path, root, reads):
    folder = write_bitmaps(tmp_path / "animals", seed=0)
    before = prepared(folder, root).directory
    write_bitmap(folder / "train/ant/1.bmp", gray=3, age=50)
    after = prepared(folder, root)
    assert after.directory != before
    assert grays(after)[1] == 3

    write_bitmap(folder / "train/ant/1.bmp", gray=grays(PreparedDataset(before))[1], age=40)
    reads.clear()
    assert prepared(folder, root).directory == before
    assert reads == ["train/ant/1.bmp"]


def test_files_are_read_once_for_preparing_and_then_only_if_they_have_changed(
    tmp_path, root, reads
):
    folder = write_bitmaps(tmp_path / "animals", seed=0)
    directory = prepared(folder, root).directory
    assert len(reads) == len(set(reads)) == 8

    reads.clear()
    assert prepared(folder, root).directory == directory
    assert reads == []

    os.utime(folder / "val/bee/0.bmp", ns=(10**18, 10**18))
    assert prepared(folder, root).directory == directory
    assert prepared(folder, root).directory == directory
    assert reads == ["val/bee/0.bmp"]


def test_file_that_has_changed_just_now_is_read_again(tmp_path, root, reads):
    folder = write_bitmaps(tmp_path / "animals", seed=0)
    write_bitmap(folder / "val/bee/0.bmp", gray=3, age=0)
    prepared(folder, root)
    reads.clear()
    prepared(folder, root)
    assert reads == ["val/bee/0.bmp"]


def test_damaged_cache_is_written_again(tmp_path, root, reads):
    folder = write_bitmaps(tmp_path / "animals", seed=0)
    directory = prepared(folder, root).directory
    (cache,) = root.glob(".animals-*.json")
    cache.write_bytes(b"\0" * 100)
    reads.clear()
    for _ in range(2):
        assert prepared(folder, root).directory == directory
    assert len(reads) == 8
