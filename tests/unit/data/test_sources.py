import io
from pathlib import Path

import numpy as np
import pytest
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


def test_digits():
    originals = datasets.source("digits").load()
    assert originals.class_names == [str(i) for i in range(10)]
    assert (originals.train.name, originals.train.num_examples) == ("train", 1437)
    assert (originals.evaluation.name, originals.evaluation.num_examples) == ("test", 360)

    train, test = list(originals.train.examples()), list(originals.evaluation.examples())
    assert len({example.name for example in train + test}) == 1797
    for part in (train, test):  # every class has its share of both
        assert np.bincount([example.label for example in part]).min() >= 0.095 * len(part)
    pixels = np.stack([example.image for example in train])
    assert (pixels.dtype, pixels.min(), pixels.max()) == (np.uint8, 0, 255)
    assert images.read(train[0].image).size == (8, 8)
    assert contents(datasets.source("digits").load().train) == [(e.name, e.label) for e in train]


def test_folder(folder):
    add_image(folder / "train" / "bee" / "queens" / "deep.png")
    add_image(folder / "train" / "bee" / ".hidden.png")
    add_image(folder / "train" / ".thumbnails" / "0.png")
    (folder / "train" / "readme.txt").write_text("no image, and of no class")
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


def test_a_folders_evaluation_split(folder):
    add_image(folder / "test" / "ant" / "t.png")
    add_image(folder / "test" / "bee" / "t.png")
    assert datasets.source(f"folder:{folder}").load().evaluation.name == "val"
    chosen = datasets.source(f"folder:{folder}", eval_split="test").load()
    assert contents(chosen.evaluation) == [("test/ant/t.png", 0), ("test/bee/t.png", 1)]

    (folder / "val").rename(folder / "unused")
    assert datasets.source(f"folder:{folder}").load().evaluation.name == "test"


def test_a_folders_identity_is_what_is_in_it(folder):
    def identity(**splits: str) -> str:
        return datasets.source(f"folder:{folder}", **splits).identity

    first = identity()
    assert identity() == first
    seen = {first}
    add_image(folder / "train" / "ant" / "new.png")
    seen.add(identity())
    add_image(folder / "train" / "ant" / "new.png", size=40)
    seen.add(identity())
    (folder / "train" / "ant" / "new.png").rename(folder / "train" / "bee" / "new.png")
    seen.add(identity())
    (folder / "val").rename(folder / "test")
    seen.add(identity())
    assert len(seen) == 5

    moved = folder.rename(folder.with_name("moved"))
    assert datasets.source(f"folder:{moved}").identity in seen


def test_a_folders_dangling_link_is_left_to_be_found_unreadable(folder):
    (folder / "train" / "ant" / "link.png").symlink_to(folder / "nowhere.png")
    assert datasets.source(f"folder:{folder}").load().train.num_examples == 5


def remove(path: Path) -> None:
    path.rename(path.with_name(f".{path.name}"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: remove(root / "train"), ["no train/", "train/CLASS/*"]),
        (lambda root: remove(root / "val"), ["neither val/ nor test/", "val/CLASS/*"]),
        (lambda root: remove(root / "val" / "bee"), ["same classes", "bee"]),
        (
            lambda root: [add_image(root / "train" / f"class{i}" / "0.png") for i in range(7)],
            ["same classes", "class0, class1, class2, class3, class4 and 2 more"],
        ),
        (
            lambda root: [remove(root / split / "bee") for split in ("train", "val")],
            ["1 class", "two"],
        ),
        (
            lambda root: [file.unlink() for file in (root / "val").rglob("*.png")],
            ["val/", "no images"],
        ),
    ],
)
def test_what_a_folder_may_lack(folder, damage, says):
    damage(folder)
    with pytest.raises(UserError) as raised:
        datasets.source(f"folder:{folder}")
    message = str(raised.value)
    assert message.startswith(f"config.data.dataset='folder:{folder}'")
    assert "\n" not in message
    for words in says:
        assert words in message


def test_a_folder_that_is_not_there():
    with pytest.raises(UserError, match=r"folder:/no/where.*no such folder.*train/CLASS/\*"):
        datasets.source("folder:/no/where")


@pytest.mark.parametrize("dataset", ["digits", "folder"])
@pytest.mark.parametrize("field", ["train_split", "eval_split"])
def test_splits_that_are_not_there(folder, dataset, field):
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
    **more_features: tfds.features.FeatureConnector,
) -> str:
    """Puts a data set where TFDS looks for it; image i of a split has the gray value i."""
    folder = root / "grays" / "1.0.0"
    folder.mkdir(parents=True)
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
        "file_name": tfds.features.Text(),
        **more_features,
    }
    identity = tfds.core.DatasetIdentity(
        name="grays", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="none"
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
            | dict.fromkeys(more_features, i % 2)
            for i in range(count)
        ]
        writer.add_examples({split: examples})
    writer.close_all()
    return str(root)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_tfds(tmp_path, file_format):
    root = write_tfds(tmp_path, {"train": 10, "test": 3, "validation": 4}, file_format=file_format)
    found = datasets.source("grays", tfds_dir=root)
    assert found.identity.startswith("grays/1.0.0")
    originals = found.load()
    assert originals.class_names == ["even", "odd"]
    assert originals.evaluation.name == "validation"
    assert sorted(contents(originals.train)) == [(f"train{i}.png", i % 2) for i in range(10)]
    assert contents(originals.train) == contents(originals.train)
    for example in originals.evaluation.examples():
        assert isinstance(example.image, bytes)
        assert f"validation{np.asarray(images.read(example.image))[0, 0, 0]}.png" == example.name


def test_slices_of_a_tfds_split(tmp_path):
    root = write_tfds(tmp_path, {"train": 10})
    splits = {"train_split": "train[:70%]", "eval_split": "train[70%:]"}
    found = datasets.source("grays", tfds_dir=root, **splits)
    originals = found.load()
    assert (originals.train.name, originals.train.num_examples) == ("train", 7)
    assert (originals.evaluation.name, originals.evaluation.num_examples) == ("validation", 3)
    names = {name for name, _ in contents(originals.train) + contents(originals.evaluation)}
    assert len(names) == 10
    assert found.identity != datasets.source("grays", tfds_dir=root).identity


def test_a_tfds_set_without_a_split_to_evaluate_on(tmp_path):
    root = write_tfds(tmp_path, {"train": 10})
    with pytest.raises(UserError, match=r"config\.data\.eval_split=''.*train\[90%:\]"):
        datasets.source("grays", tfds_dir=root).load()
    with pytest.raises(UserError, match=r"config\.data\.eval_split='tset'.*train"):
        datasets.source("grays", tfds_dir=root, eval_split="tset").load()
    with pytest.raises(UserError, match=r"config\.data\.train_split='train\[:'.*train"):
        datasets.source("grays", tfds_dir=root, eval_split="train", train_split="train[:").load()


def test_which_of_two_labels_of_a_tfds_set(tmp_path):
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
    ("name", "perhaps"),
    [
        ("cifar11", "cifar10"),
        ("imagenet2013", "imagenet2012"),
        ("imagenette/320px-v3", "imagenette/320px-v2"),
        ("cifar10:9.9.9", "cifar10"),
        ("/my/photographs", "folder:PATH"),
    ],
)
def test_names_unknown_to_tfds(tmp_path, name, perhaps):
    with pytest.raises(UserError) as raised:
        datasets.source(name, tfds_dir=str(tmp_path))
    assert str(raised.value).startswith(f"config.data.dataset={name!r}")
    assert perhaps in str(raised.value)
    assert "\n" not in str(raised.value)


def test_imagenet_without_its_archives(tmp_path):
    with pytest.raises(UserError) as raised:
        datasets.source("imagenet2012", tfds_dir=str(tmp_path)).load()
    message = str(raised.value)
    assert "\n" not in message
    for words in (str(tmp_path), "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"):
        assert words in message
