"""Sources of original images: digits, image folders and TFDS."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from src.data import images
from src.data.sources.source import Split
from src.errors import UserError
from tests.support import datasets


def add_image(path: Path, gray: int = 0, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), gray).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("train", "val"):
        for label, name in enumerate(("ant", "bee")):
            for i in range(2):
                add_image(tmp_path / split / name / f"{i}.png", 10 * label + i)
    return tmp_path


def contents(split: Split) -> list[tuple[str, int]]:
    examples = [(example.name, example.label) for example in split.examples()]
    assert len(examples) == split.num_examples
    return examples


def test_digits_are_stratified_uint8_images():
    originals = datasets.source("digits").load()
    assert originals.class_names == [str(i) for i in range(10)]
    assert (originals.train.name, originals.train.num_examples) == ("train", 1437)
    assert (originals.evaluation.name, originals.evaluation.num_examples) == ("test", 360)

    train, test = list(originals.train.examples()), list(originals.evaluation.examples())
    assert len({example.name for example in train + test}) == 1797
    for part in (train, test):  # each class has its share in both splits
        assert np.bincount([example.label for example in part]).min() >= 0.095 * len(part)
    pixels = np.stack([example.image for example in train])
    assert (pixels.dtype, pixels.min(), pixels.max()) == (np.uint8, 0, 255)
    assert images.read(train[0].image).size == (8, 8)
    assert contents(datasets.source("digits").load().train) == [(e.name, e.label) for e in train]


def test_folder_lists_visible_files_by_class(folder):
    add_image(folder / "train" / "bee" / "queens" / "deep.png")
    add_image(folder / "train" / "bee" / ".hidden.png")
    add_image(folder / "train" / ".thumbnails" / "0.png")
    (folder / "train" / "readme.txt").write_text("not an image")
    originals = datasets.source(f"folder:{folder}").load()
    assert originals.class_names == ["ant", "bee"]
    assert originals.evaluation.name == "val"
    assert contents(originals.train) == [
        ("train/ant/0.png", 0),
        ("train/ant/1.png", 0),
        ("train/bee/0.png", 1),
        ("train/bee/1.png", 1),
        ("train/bee/queens/deep.png", 1),
    ]
    (first, *_) = originals.evaluation.examples()
    assert np.unique(images.read(first.image)) == [0]


def test_folder_chooses_the_evaluation_split(folder):
    add_image(folder / "test" / "ant" / "t.png")
    add_image(folder / "test" / "bee" / "t.png")
    assert datasets.source(f"folder:{folder}").load().evaluation.name == "val"
    chosen = datasets.source(f"folder:{folder}", eval_split="test").load()
    assert contents(chosen.evaluation) == [("test/ant/t.png", 0), ("test/bee/t.png", 1)]

    (folder / "val").rename(folder / "unused")
    assert datasets.source(f"folder:{folder}").load().evaluation.name == "test"


def test_folder_identity_depends_on_its_files_alone(folder):
    def identity(**splits: str) -> str:
        return datasets.source(f"folder:{folder}", **splits).identity

    first = identity()
    assert identity() == first
    identities = {first}
    add_image(folder / "train" / "ant" / "new.png")
    identities.add(identity())
    add_image(folder / "train" / "ant" / "new.png", size=40)
    identities.add(identity())
    (folder / "train" / "ant" / "new.png").rename(folder / "train" / "bee" / "new.png")
    identities.add(identity())
    (folder / "val").rename(folder / "test")
    identities.add(identity())
    assert len(identities) == 5

    moved = folder.rename(folder.with_name("moved"))
    assert datasets.source(f"folder:{moved}").identity in identities


def test_folder_counts_a_dangling_link_as_an_example(folder):
    (folder / "train" / "ant" / "link.png").symlink_to(folder / "nowhere.png")
    assert datasets.source(f"folder:{folder}").load().train.num_examples == 5


def hide(path: Path) -> None:
    path.rename(path.with_name(f".{path.name}"))


@pytest.mark.parametrize(
    ("damage", "phrases"),
    [
        (lambda root: hide(root / "train"), ["no train/", "train/CLASS/*"]),
        (lambda root: hide(root / "val"), ["neither val/ nor test/", "val/CLASS/*"]),
        (lambda root: hide(root / "val" / "bee"), ["same classes", "bee"]),
        (
            lambda root: [add_image(root / "train" / f"class{i}" / "0.png") for i in range(7)],
            ["same classes", "class0, class1, class2, class3, class4 and 2 more"],
        ),
        (
            lambda root: [hide(root / split / "bee") for split in ("train", "val")],
            ["1 class", "two"],
        ),
        (
            lambda root: [file.unlink() for file in (root / "val").rglob("*.png")],
            ["val/", "no images"],
        ),
    ],
)
def test_incomplete_folder_is_an_error(folder, damage, phrases):
    damage(folder)
    with pytest.raises(UserError) as raised:
        datasets.source(f"folder:{folder}")
    message = str(raised.value)
    assert message.startswith(f"config.data.dataset='folder:{folder}'")
    assert "\n" not in message
    for phrase in phrases:
        assert phrase in message


def test_missing_folder_is_an_error():
    with pytest.raises(UserError, match=r"folder:/no/where.*no such directory.*train/CLASS/\*"):
        datasets.source("folder:/no/where")


@pytest.mark.parametrize("dataset", ["digits", "folder"])
@pytest.mark.parametrize("field", ["train_split", "eval_split"])
def test_unknown_split_is_an_error(folder, dataset, field):
    name = f"folder:{folder}" if dataset == "folder" else dataset
    with pytest.raises(
        UserError, match=rf"config\.data\.{field}='nonsense'.*only (train|test|val)"
    ):
        datasets.source(name, **{field: "nonsense"})


def png(gray: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (gray, gray, gray)).save(file, "PNG")
    return file.getvalue()


def write_tfds(
    root: Path,
    splits: dict[str, int],
    *,
    file_format: str = "tfrecord",
    supervised: tuple[str, str] | None = None,
    **extra_features: tfds.features.FeatureConnector,
) -> str:
    """Writes a data set where TFDS looks for it; image i of a split has the gray value i."""
    directory = root / "grays" / "1.0.0"
    directory.mkdir(parents=True)
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
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
            {"image": io.BytesIO(png(i)), "label": i % 2, "file_name": f"{split}{i}.png"}
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
    originals = source.load()
    assert originals.class_names == ["even", "odd"]
    assert originals.evaluation.name == "validation"
    assert sorted(contents(originals.train)) == [(f"train{i}.png", i % 2) for i in range(10)]
    assert contents(originals.train) == contents(originals.train)
    for example in originals.evaluation.examples():
        assert isinstance(example.image, bytes)
        assert f"validation{np.asarray(images.read(example.image))[0, 0, 0]}.png" == example.name
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
    assert datasets.source("grays", tfds_dir=root).load().class_names == ["a", "b", "c"]


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
