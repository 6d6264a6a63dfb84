"""Nearest images, compared with NumPy on the classifier's features."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.cli.app import run_command
from src.data.preparation import prepare_dataset
from src.data.sources import find_source
from src.errors import CommandError, UserError
from src.inference.classifier import Classifier, load
from src.retrieve import __main__ as command
from src.retrieve.index import open_index
from tests.support import miniature, tiny
from tests.support.runs import untrained


@pytest.fixture(scope="module")
def workdir(cache: Path) -> Path:
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    return untrained(config, cache / "retrieve")


@pytest.fixture(scope="module")
def classifier(workdir: Path) -> Classifier:
    return load(workdir, mesh=miniature.mesh(1, 1))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Digits as files, and a file that is not an image."""
    directory = tmp_path / "photos"
    directory.mkdir()
    split = find_source(tiny.get_config().data).load().evaluation
    for example, index in zip(split.examples(), range(20), strict=False):
        Image.fromarray(np.asarray(example.image)).save(directory / f"{index:02}.png")
    (directory / "notes.txt").write_text("no image")
    return directory


def expected_distances(classifier: Classifier, photos: Path) -> tuple[list[Path], np.ndarray]:
    files = sorted(photos.glob("*.png"))
    originals = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    features = classifier.features(originals).astype(np.float64)
    return files, np.linalg.norm(features[:, None] - features, axis=-1)


def test_nearest_images_in_a_directory_match_numpy(
    workdir: Path, classifier: Classifier, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, distances = expected_distances(classifier, photos)
    queries = files[3:5]
    argv = [f"--workdir={workdir}", f"--index={photos}", "--json", "--nearest=4"]
    argv += map(str, queries)
    status = run_command(command.main, command.FLAGS, command.__doc__, argv)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert "left out 1 of 21 files" in captured.err
    for line, query in zip(captured.out.splitlines(), (3, 4), strict=True):
        printed = json.loads(line)
        assert printed["query"] == str(files[query])
        nearest = np.argsort(distances[query], kind="stable")[:4]
        assert [entry["file"] for entry in printed["nearest"]] == [str(files[i]) for i in nearest]
        assert [entry["distance"] for entry in printed["nearest"]] == pytest.approx(
            distances[query, nearest], rel=1e-3, abs=1e-4
        )


def test_index_is_rebuilt_only_when_images_change(
    workdir: Path,
    classifier: Classifier,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = open_index(workdir, classifier, str(photos), "fc7")
    assert len(first.entries) == 20
    assert "index" in capsys.readouterr().err
    caplog.clear()
    again = open_index(workdir, classifier, str(photos), "fc7")
    assert "index" not in capsys.readouterr().err
    assert "left out 1 of 21 files" in caplog.text
    assert "notes.txt (not an image of a known format)" in caplog.text
    np.testing.assert_array_equal(again.features, first.features)

    shutil.copy(photos / "05.png", photos / "20.png")
    changed = open_index(workdir, classifier, str(photos), "fc7")
    np.testing.assert_array_equal(changed.features[20], first.features[5])
    digests = {path.name.split("-")[1] for path in (workdir / "index").glob("fc7-*")}
    assert len(digests) == len(list((workdir / "index").glob("fc7-*")))  # the first one is gone
    other_layer = open_index(workdir, classifier, str(photos), "conv5")
    assert other_layer.features.shape == (21, 1, 1, tiny.MAPS["conv5"])


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), MemoryError()])
def test_outage_leaves_no_image_out(
    workdir: Path,
    classifier: Classifier,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    opened = Image.open

    def fail_once(file: Any) -> Image.Image:
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(Image, "open", fail_once)
    if isinstance(error, OSError):
        monkeypatch.setattr(Path, "read_bytes", fail_once)
    with pytest.raises(CommandError, match=r"\.png: .*run the command again"):
        open_index(workdir, classifier, str(photos), "fc7")
    assert Image.open is opened
    assert len(open_index(workdir, classifier, str(photos), "fc7").entries) == 20


def test_index_of_a_split_has_its_classes_and_features(
    workdir: Path, classifier: Classifier
) -> None:
    index = open_index(workdir, classifier, "test", "fc6")
    data = prepare_dataset(classifier.config.data)
    encoded, labels = data.records("test").read(np.arange(360))
    assert [entry["class"] for entry in index.entries] == [str(label) for label in labels]
    assert len({entry["file"] for entry in index.entries}) == 360
    some = [0, 100, 359]
    expected = [a.output for a in classifier.file_features([encoded[i] for i in some], "fc6")]
    np.testing.assert_allclose(index.features[some], expected, rtol=1e-4, atol=0.05)


def test_invalid_arguments_are_rejected(
    workdir: Path, classifier: Classifier, tmp_path: Path
) -> None:
    before = set((workdir / "index").glob("*"))
    with pytest.raises(UserError, match=r"--index=tset: give a directory or a split .*train"):
        open_index(workdir, classifier, "tset", "fc7")
    with pytest.raises(UserError, match="--layer: 'fc9' is not allowed; choose one of"):
        open_index(workdir, classifier, "test", "fc9")
    with pytest.raises(UserError, match=f"--index={tmp_path}: has no files"):
        open_index(workdir, classifier, str(tmp_path), "fc7")
    assert set((workdir / "index").glob("*")) == before
