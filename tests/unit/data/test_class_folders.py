"""Directories of classes without splits, which split themselves."""

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from src.errors import UserError
from tests.support import datasets


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes without splits, of 100 and 3 different images."""
    for name, count in (("ant", 100), ("bee", 3)):
        for i in range(count):
            datasets.add_image(
                tmp_path / "classes" / name / f"{i:02}.png", i + 100 * (name == "bee")
            )
    return tmp_path / "classes"


def split_of(folder: Path) -> dict[str, set[str]]:
    originals = datasets.source(f"folder:{folder}").load()
    return {
        split.name: {name for name, _ in datasets.contents(split)}
        for split in (originals.train, originals.evaluation)
    }


def test_folder_of_classes_splits_itself_by_the_contents(classes, caplog):
    with caplog.at_level("INFO"):
        parts = split_of(classes)
    assert f"{classes}: has only classes; val is a tenth of each" in caplog.text
    assert not parts["train"] & parts["val"]
    assert len(parts["train"] | parts["val"]) == 103
    by_digest = {
        hashlib.sha256(file.read_bytes()).hexdigest(): f"ant/{file.name}"
        for file in (classes / "ant").iterdir()
    }
    expected = {file for digest, file in by_digest.items() if int(digest[:8], 16) < 2**32 // 10}
    assert {file for file in parts["val"] if file.startswith("ant")} == expected
    assert 4 <= len(expected) <= 18
    assert len([file for file in parts["val"] if file.startswith("bee")]) == 1


def test_new_image_moves_no_other_to_another_split(classes):
    before = split_of(classes)
    for i in range(100, 200):
        datasets.add_image(classes / "ant" / f"{i}.png", i)
    after = split_of(classes)
    for split, files in before.items():
        assert files <= after[split]


def test_equal_images_come_into_one_split(classes, tmp_path_factory):
    for file in sorted(classes.rglob("*.png")):
        shutil.copy(file, file.with_name(f"copy_{file.name}"))
    prepared = datasets.prepared(f"folder:{classes}", 8, tmp_path_factory.mktemp("prepared"))
    assert prepared.in_train == 0
    assert prepared.num_examples["val"] % 2 == 0
    assert sum(prepared.num_examples.values()) == 206


@pytest.mark.parametrize("images", [[], [1], [1, 1]])
def test_class_of_fewer_than_two_different_images_cannot_be_split(classes, images):
    (classes / "cat").mkdir()
    for i, gray in enumerate(images):
        datasets.add_image(classes / "cat" / f"{i}.png", gray)
    with pytest.raises(UserError, match=f"'cat' has {len(set(images))} different images"):
        datasets.source(f"folder:{classes}").load()


@pytest.mark.parametrize("age", [0, 100], ids=["changed-just-now", "old"])
def test_evaluation_of_classes_needs_no_training_split(classes, tmp_path, age):
    for file in classes.rglob("*.png"):
        changed = file.stat().st_mtime_ns - age * 10**9
        os.utime(file, ns=(changed, changed))
    section = datasets.section(f"folder:{classes}", 8, tmp_path / "prepared")
    prepared = datasets.prepare_dataset(section, trains=False)
    assert list(prepared.num_examples) == ["val"]
    assert re.fullmatch(r"classes-8px(-[0-9a-f]{8}){2}", prepared.directory.name)
    assert datasets.prepare_dataset(section, trains=False).directory == prepared.directory


@pytest.mark.parametrize("split", [True, False], ids=["split", "class"])
def test_split_or_class_whose_disk_is_not_mounted_is_an_error(classes, split):
    if split:
        for name in ("train", "val", "test"):
            shutil.copytree(classes, classes.parent / "splits" / name)
        classes = classes.parent / "splits"
    missing = classes / ("val" if split else "cat")
    shutil.rmtree(missing, ignore_errors=True)
    missing.symlink_to("/mnt/nowhere")
    with pytest.raises(UserError, match=rf"^[^\n]*: '{missing}' is a dangling link; [^\n]*$"):
        datasets.source(f"folder:{classes}")
