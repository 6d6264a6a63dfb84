"""Prepared data sets with damaged files."""

import errno
import json
import os
from types import SimpleNamespace

import pytest

from src.errors import UserError
from tests.support import datasets

SIZE = 16


@pytest.fixture
def folder(tmp_path):
    """Two classes of one image in each split."""
    for number, split in enumerate(("train", "val")):
        for name in ("ant", "bee"):
            gray = 2 * number + (name == "bee")
            datasets.add_image(tmp_path / "animals" / split / name / "0.png", gray)
    return tmp_path / "animals"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "prepared"


@pytest.mark.parametrize(
    "name",
    [
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
        "statistics.npz",
        "report.json",
        "digests.json",
        "animals-train.array_record-00000",
        "animals-val.array_record-00000",
    ],
)
@pytest.mark.parametrize("damage", ["empty", "missing"])
def test_damaged_file_is_named_with_what_to_do(name, damage, folder, root):
    directory = datasets.prepared(f"folder:{folder}", SIZE, root).directory
    (directory / name).write_bytes(b"")
    if damage == "missing":
        (directory / name).unlink()
    message = rf"{directory}: a file is damaged or missing \(.*\); restore it, or remove the dir"
    with pytest.raises(UserError, match=message):
        read_all(datasets.prepared(f"folder:{folder}", SIZE, root))


@pytest.mark.parametrize("field", ["left_out", "class_counts"])
def test_report_that_lacks_a_field_is_damaged(field, folder, root):
    directory = datasets.prepared(f"folder:{folder}", SIZE, root).directory
    report = json.loads((directory / "report.json").read_text())
    del report["train"][field]
    (directory / "report.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=rf"{directory}: .*'{field}'.* remove the directory to"):
        read_all(datasets.prepared(f"folder:{folder}", SIZE, root))


def test_unreadable_file_is_no_damage(folder, root, monkeypatch):
    prepared = datasets.prepared(f"folder:{folder}", SIZE, root)

    def fail(_):
        raise RuntimeError(f"read() failed: {os.strerror(errno.EIO)}; reading /there/file")

    records = prepared.records("train")
    monkeypatch.setattr("src.data.records.EXAMPLE", SimpleNamespace(FromString=fail))
    with pytest.raises(RuntimeError, match="Input/output error"):
        records.read([0])


def read_all(prepared):
    assert prepared.statistics
    assert prepared.class_counts
    assert prepared.digests("val")
    for split, count in prepared.num_examples.items():
        prepared.records(split).read(range(count))
