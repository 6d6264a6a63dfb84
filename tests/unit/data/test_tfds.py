"""Data sets of TFDS as sources of original images."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.util import DownloadError

from src.data import preparation
from src.data.sources.source import Split
from src.errors import CommandError, UserError
from tests.support import datasets
from tests.support.image_content import pixels


def contents(split: Split) -> list[tuple[str, int]]:
    examples = [(example.name, example.label) for example in split.examples()]
    assert len(examples) == split.num_examples
    return examples


def png(gray: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (gray, gray, gray)).save(file, "PNG")
    return file.getvalue()


MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
PNG = tfds.features.Image(shape=(None, None, 3), encoding_format="png")


def write_tfds(
    root: Path,
    splits: dict[str, int],
    *,
    file_format: str = "tfrecord",
    supervised: tuple[str, str] | None = None,
    unlabeled: tuple[str, ...] = (),
    image: Callable[[int], object] = lambda i: io.BytesIO(png(i)),
    image_feature: tfds.features.Image = PNG,
    **extra_features: tfds.features.FeatureConnector,
) -> str:
    """Writes a data set where TFDS looks for it; image i of a split has the gray value i.

    The label of the images named in `unlabeled` is -1, as in the test splits of TFDS.
    """
    directory = root / "grays" / "1.0.0"
    directory.mkdir(parents=True)
    features = {
        "image": image_feature,
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
        "file_name": tfds.features.Text(),
        **extra_features,
    }
    identity = tfds.core.DatasetIdentity(
        name="grays",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(directory),
        module_name="none",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=supervised,
    )
    writer = tfds.core.SequentialWriter(info, 4, file_format=file_format)
    writer.initialize_splits(list(splits))
    for split, count in splits.items():
        examples = [
            {
                "image": image(i),
                "label": -1 if f"{split}{i}.png" in unlabeled else i % 2,
                "file_name": f"{split}{i}.png",
            }
            | dict.fromkeys(extra_features, i % 2)
            for i in range(count)
        ]
        writer.add_examples({split: examples})
    writer.close_all()
    return str(root)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_tfds_reads_both_file_formats(tmp_path, file_format):
    root = write_tfds(tmp_path, {"train": 10, "test": 3, "validation": 4}, file_format=file_format)
    source = datasets.source("grays", tfds_dir=root)
    assert source.identity.startswith("grays/1.0.0")
    assert source.class_names() == ["even", "odd"]
    originals = source.load()
    assert originals.evaluation.name == "validation"
    assert sorted(contents(originals.train)) == [(f"train{i}.png", i % 2) for i in range(10)]
    assert contents(originals.train) == contents(originals.train)
    for example in originals.evaluation.examples():
        assert isinstance(example.image, bytes)
        assert f"validation{pixels(example.image)[0, 0, 0]}.png" == example.name
    if file_format == "tfrecord":  # TensorFlow reads these and must leave the GPUs to JAX
        assert tf.config.get_visible_devices("GPU") == []


def test_tfds_accepts_slices_of_splits(tmp_path):
    root = write_tfds(tmp_path, {"train": 10})
    splits = {"train_split": "train[:70%]", "eval_split": "train[70%:]"}
    source = datasets.source("grays", tfds_dir=root, **splits)
    originals = source.load()
    assert (originals.train.name, originals.train.num_examples) == ("train", 7)
    assert (originals.evaluation.name, originals.evaluation.num_examples) == ("validation", 3)
    names = {name for name, _ in contents(originals.train) + contents(originals.evaluation)}
    assert len(names) == 10
    assert source.identity != datasets.source("grays", tfds_dir=root).identity


def test_tfds_directory_may_be_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tfds(tmp_path / "data", {"train": 2, "test": 2})
    assert datasets.source("grays", tfds_dir="~/data").load().train.num_examples == 2


@pytest.mark.parametrize("split", ["test", "train"])
def test_evaluation_of_a_tfds_data_set_needs_no_training_split(tmp_path, split):
    root = write_tfds(tmp_path / "data", {split: 5})
    fields = {"tfds_dir": root, "eval_split": f"{split}[:3]"}
    section = datasets.section("grays", 8, tmp_path / "prepared", **fields)
    prepared = datasets.prepare_dataset(section, trains=False)
    assert prepared.num_examples == {split: 3}
    assert prepared.eval_split == split
    assert prepared.train_split not in prepared.num_examples
    assert len(prepared.digests(split)) == 3


def test_tfds_split_that_does_not_exist_is_an_error(tmp_path):
    root = write_tfds(tmp_path, {"train": 10})
    with pytest.raises(UserError, match=r"config\.data\.eval_split=''.*train\[90%:\]"):
        datasets.source("grays", tfds_dir=root).load()
    with pytest.raises(UserError, match=r"config\.data\.eval_split='tset'.*train"):
        datasets.source("grays", tfds_dir=root, eval_split="tset").load()
    with pytest.raises(UserError, match=r"config\.data\.train_split='train\[:'.*train"):
        datasets.source("grays", tfds_dir=root, eval_split="train", train_split="train[:").load()


def test_tfds_label_is_the_only_one_or_the_supervised_one(tmp_path):
    second = {"other": tfds.features.ClassLabel(names=["a", "b", "c"])}
    root = write_tfds(tmp_path / "1", {"train": 4, "test": 4}, **second)
    with pytest.raises(
        UserError, match=r"config\.data\.dataset='grays.*ClassLabel.*'label', 'other'"
    ):
        datasets.source("grays", tfds_dir=root).load()
    root = write_tfds(
        tmp_path / "2", {"train": 4, "test": 4}, supervised=("image", "other"), **second
    )
    assert datasets.source("grays", tfds_dir=root).class_names() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("cifar11", "cifar10"),
        ("imagenet2013", "imagenet2012"),
        ("imagenette/320px-v3", "imagenette/320px-v2"),
        ("cifar10:9.9.9", "cifar10"),
        ("/my/photographs", "folder:PATH"),
    ],
)
def test_unknown_tfds_name_suggests_similar_names(tmp_path, name, suggestion):
    with pytest.raises(UserError) as raised:
        datasets.source(name, tfds_dir=str(tmp_path))
    assert str(raised.value).startswith(f"config.data.dataset={name!r}")
    assert suggestion in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_imagenet_archives_are_named(tmp_path):
    with pytest.raises(UserError) as raised:
        datasets.source("imagenet2012", tfds_dir=str(tmp_path)).load()
    message = str(raised.value)
    assert "\n" not in message
    for phrase in (str(tmp_path), "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"):
        assert phrase in message


@pytest.mark.parametrize("field", ["train_split", "eval_split"])
@pytest.mark.parametrize("part", ["train[:0]", "train[5:5]", "all[:5]"])
def test_empty_slice_or_slice_of_all_is_an_error(tmp_path, field, part):
    root = write_tfds(tmp_path, {"train": 10, "test": 3})
    splits = {"train_split": "train", "eval_split": "test", field: part}
    with pytest.raises(UserError, match=rf"^config\.data\.{field}='.*has no images|not a split"):
        datasets.source("grays", tfds_dir=root, **splits).load()


def test_version_may_follow_the_name(tmp_path):
    source = datasets.source("mnist:3.0.1", tfds_dir=str(tmp_path))
    assert source.identity.startswith("mnist/3.0.1")


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ProxyError("refused", request=requests.Request("GET", MNIST)),
        requests.exceptions.ConnectionError("refused", request=requests.Request("GET", MNIST)),
        DownloadError(f"Failed to get url {MNIST}. HTTP code: 404."),
    ],
)
def test_failed_download_is_an_error_with_what_to_do(tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(downloader, "_open_with_requests", fail)
    source = datasets.source("mnist", tfds_dir=str(tmp_path))
    message = f"{MNIST}.*{tmp_path}/downloads/manual; digits and folder:PATH need no network"
    with pytest.raises(CommandError, match=message) as raised:
        source.load()
    assert raised.value.exit_status == 1


def test_download_is_tried_for_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    pauses = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    with pytest.raises(CommandError, match="cannot download https://"):
        datasets.source("mnist", tfds_dir=str(tmp_path)).load()
    assert sum(pauses) < 10


def test_training_image_without_a_label_is_left_out_and_named(tmp_path, caplog):
    root = write_tfds(tmp_path, {"train": 6, "test": 2}, unlabeled=("train3.png",))
    prepared = datasets.prepared("grays", 8, tmp_path / "prepared", tfds_dir=root)
    assert prepared.num_examples == {"train": 5, "test": 2}
    assert sorted(prepared.records("train").read(range(5))[1]) == [0, 0, 0, 1, 1]
    assert "train: left out 1 of 6 images" in caplog.text
    assert "train3.png (label -1 is not one of 0…1)" in caplog.text


def test_evaluation_split_without_labels_is_an_error(tmp_path):
    root = write_tfds(tmp_path, {"train": 6, "test": 1}, unlabeled=("test0.png",))
    with pytest.raises(UserError, match=r"eval_split='test'.*test0\.png: label -1 is not one of"):
        datasets.prepared("grays", 8, tmp_path / "prepared", tfds_dir=root)


def test_training_split_without_labels_cannot_be_evaluated(tmp_path):
    root = write_tfds(tmp_path / "data", {"train": 6}, unlabeled=("train3.png",))
    fields = {"tfds_dir": root, "eval_split": "train"}
    section = datasets.section("grays", 8, tmp_path / "prepared", **fields)
    with pytest.raises(UserError, match=r"eval_split='train'.*train3\.png: label -1 is not one of"):
        datasets.prepare_dataset(section, trains=False)


def test_training_split_without_labels_is_an_error(tmp_path):
    root = write_tfds(tmp_path, {"train": 1, "test": 2}, unlabeled=("train0.png",))
    with pytest.raises(UserError, match=r"'grays'.*none of the 1 images of train with label -1"):
        datasets.prepared("grays", 8, tmp_path / "prepared", tfds_dir=root)


def test_evaluation_images_in_the_training_split_are_counted_and_named(tmp_path, caplog):
    root = write_tfds(tmp_path, {"train": 6, "test": 2})  # image i is the same in both
    datasets.prepared("grays", 8, tmp_path / "prepared", tfds_dir=root)
    assert "test: 2 of 2 images are also in train" in caplog.text
    assert "test0.png" in caplog.text


@pytest.mark.parametrize(
    ("train", "evaluation"),
    [("", "train[90%:]"), ("train[:50%]", "train[4:]"), ("train+test", "test"), ("", "train")],
)
def test_overlapping_slices_are_an_error(tmp_path, train, evaluation):
    root = write_tfds(tmp_path, {"train": 10, "test": 2})
    with pytest.raises(UserError, match=r"eval_split='t.*of the images are also in train_split"):
        datasets.source("grays", tfds_dir=root, train_split=train, eval_split=evaluation)


def test_wrong_label_in_prepared_images_is_an_error(tmp_path, monkeypatch):
    root = write_tfds(tmp_path, {"train": 6, "test": 2}, unlabeled=("test1.png",))
    monkeypatch.setattr(preparation, "range", lambda *_: [-1, 0, 1], raising=False)
    prepared = datasets.prepared("grays", 8, tmp_path / "prepared", tfds_dir=root)
    with pytest.raises(UserError, match=r"label -1 is not one of 0…1; remove"):
        prepared.records("test").read(range(2))


def test_float_images_are_an_error(tmp_path):
    """TFDS stores them as PNG with four channels, which would look like RGBA."""
    feature = tfds.features.Image(shape=(4, 4, 1), dtype=np.float32)
    root = write_tfds(
        tmp_path,
        {"train": 4, "test": 4},
        image=lambda i: np.full((4, 4, 1), i / 4, np.float32),
        image_feature=feature,
    )
    with pytest.raises(UserError, match=r"grays/1\.0\.0.*its images are float32"):
        datasets.source("grays", tfds_dir=root).load()
