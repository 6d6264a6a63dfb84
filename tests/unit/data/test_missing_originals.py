"""Prepared images are used where the originals are missing or have another path."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.errors import UserError
from tests.support import datasets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images in each split, all different."""
    for number, name in enumerate(
        f"{s}/{c}/{i}.png" for s in ("train", "val") for c in "ab" for i in "12"
    ):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(file)
    return tmp_path / "photos"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def test_prepared_images_do_not_need_the_originals(folder, root, caplog):
    before = datasets.prepared(f"folder:{folder}", 8, root)
    shutil.rmtree(folder)
    after = datasets.prepared(f"folder:{folder}", 8, root)
    assert after.directory == before.directory
    assert f"photos': its images are missing; using the prepared {before.directory}" in caplog.text
    folder.mkdir()  # as where a disk is not mounted
    assert datasets.prepared(f"folder:{folder}", 8, root).directory == before.directory


def test_what_was_prepared_last_is_used(folder, root):
    datasets.prepared(f"folder:{folder}", 8, root)
    (folder / "train/a/2.png").unlink()
    last = datasets.prepared(f"folder:{folder}", 8, root)
    shutil.rmtree(folder)
    assert datasets.prepared(f"folder:{folder}", 8, root).directory == last.directory


@pytest.mark.parametrize("change", [{"size": 16}, {"eval_split": "test"}, {"root": "elsewhere"}])
def test_missing_originals_of_other_prepared_images_are_an_error(folder, root, tmp_path, change):
    datasets.prepared(f"folder:{folder}", 8, root)
    shutil.rmtree(folder)
    root = tmp_path / change.pop("root", root)
    with pytest.raises(UserError, match="no such directory"):
        datasets.prepared(f"folder:{folder}", change.pop("size", 8), root, **change)


def test_relative_paths_may_move_together(folder, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = datasets.prepared("folder:photos", 8, "prepared")
    shutil.copytree(root, tmp_path / "copy/prepared")
    monkeypatch.chdir(tmp_path / "copy")
    assert datasets.prepared("folder:photos", 8, "prepared").directory == before.directory


def test_renamed_directory_shares_its_prepared_images(folder, root):
    before = datasets.prepared(f"folder:{folder}", 8, root)
    moved = folder.rename(folder.with_name("moved"))
    assert datasets.prepared(f"folder:{moved}", 8, root).directory == before.directory


def test_home_directory_is_expanded(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    prepared = datasets.prepared("folder:~/photos", 8, "~/prepared")
    assert prepared.directory.parent == tmp_path / "prepared"
    shutil.rmtree(folder)
    assert datasets.prepared("folder:~/photos", 8, "~/prepared").directory == prepared.directory


def test_evaluation_split_alone_is_prepared(folder, root):
    shutil.rmtree(folder / "train")
    section = datasets.section(f"folder:{folder}", 8, root)
    prepared = datasets.prepare_dataset(section, trains=False)
    assert prepared.num_examples == {"val": 4}
    assert prepared.in_train is None
    with pytest.raises(UserError, match="has no train/"):
        datasets.prepare_dataset(section)


def test_digits_for_evaluation_alone_are_those_of_training(root):
    both = datasets.prepared("digits", 8, root)
    alone = datasets.prepare_dataset(datasets.section("digits", 8, root), trains=False)
    assert alone.num_examples == {"test": 360}
    one, other = (split.records("test").read(range(360)) for split in (both, alone))
    np.testing.assert_equal(one, other)
