"""Sources of original images: digits and image folders."""

import errno
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from src.data import images
from src.errors import CommandError, UserError
from tests.support import datasets
from tests.support.image_content import pixels


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("train", "val"):
        for label, name in enumerate(("ant", "bee")):
            for i in range(2):
                datasets.add_image(tmp_path / split / name / f"{i}.png", 10 * label + i)
    return tmp_path


def test_digits_are_stratified_uint8_images():
    source = datasets.source("digits")
    assert source.class_names() == [str(i) for i in range(10)]
    originals = source.load()
    assert (originals.train.name, originals.train.num_examples) == ("train", 1437)
    assert (originals.evaluation.name, originals.evaluation.num_examples) == ("test", 360)

    train, test = list(originals.train.examples()), list(originals.evaluation.examples())
    assert len({example.name for example in train + test}) == 1797
    for part in (train, test):  # each class has its share in both splits
        assert np.bincount([example.label for example in part]).min() >= 0.095 * len(part)
    stored = np.stack([example.image for example in train])
    assert (stored.dtype, stored.min(), stored.max()) == (np.uint8, 0, 255)
    assert pixels(train[0].image).shape == (8, 8, 3)
    assert datasets.contents(datasets.source("digits").load().train) == [
        (e.name, e.label) for e in train
    ]


def test_synthetic_images_weigh_as_much_as_photographs():
    source = datasets.source("synthetic", size=256)
    assert len(source.class_names()) == 1000
    originals = source.load()
    assert (originals.train.num_examples, originals.evaluation.num_examples) == (2048, 512)
    first, again = (list(itertools.islice(originals.train.examples(), 20)) for _ in range(2))
    for example, same in zip(first, again, strict=True):
        assert (example.image == same.image).all()
        assert example.label == same.label
    assert len({example.label for example in first}) > 15
    size = len(first[0].image)
    sizes = [len(images.encode(example.image)) / size**2 for example in first]
    assert 0.4 < np.mean(sizes) < 0.7  # bytes per pixel; 0.52 in prepared photographs


def test_folder_lists_visible_files_by_class(folder):
    datasets.add_image(folder / "train" / "bee" / "queens" / "deep.png")
    datasets.add_image(folder / "train" / "bee" / ".hidden.png")
    datasets.add_image(folder / "train" / ".thumbnails" / "0.png")
    (folder / "train" / "readme.txt").write_text("not an image")
    source = datasets.source(f"folder:{folder}")
    assert source.class_names() == ["ant", "bee"]
    originals = source.load()
    assert originals.evaluation.name == "val"
    assert datasets.contents(originals.train) == [
        ("train/ant/0.png", 0),
        ("train/ant/1.png", 0),
        ("train/bee/0.png", 1),
        ("train/bee/1.png", 1),
        ("train/bee/queens/deep.png", 1),
    ]
    (first, *_) = originals.evaluation.examples()
    assert np.unique(pixels(first.image)) == [0]


def test_folder_chooses_the_evaluation_split(folder):
    datasets.add_image(folder / "test" / "ant" / "t.png")
    datasets.add_image(folder / "test" / "bee" / "t.png")
    assert datasets.source(f"folder:{folder}").load().evaluation.name == "val"
    chosen = datasets.source(f"folder:{folder}", eval_split="test").load()
    assert datasets.contents(chosen.evaluation) == [("test/ant/t.png", 0), ("test/bee/t.png", 1)]

    for name in ("validation", "valid"):
        (folder / "val").rename(folder / name)
        assert datasets.source(f"folder:{folder}").load().evaluation.name == name
        (folder / name).rename(folder / "val")
    (folder / "val").rename(folder / "unused")
    assert datasets.source(f"folder:{folder}").load().evaluation.name == "test"


def test_directories_named_like_splits_are_no_classes(folder):
    (folder / "train").rename(folder / "Training")
    (folder / "val").rename(folder / "Validation")
    with pytest.raises(UserError, match="has no train/"):
        datasets.source(f"folder:{folder}")


def test_images_outside_classes_are_named(folder, caplog):
    before = listed(folder)
    datasets.add_image(folder / "train/loose.png")
    assert listed(folder) == before
    assert "left out 1 files outside classes: train/loose.png" in caplog.text

    (folder / "train/loose.png").unlink()
    shutil.rmtree(folder / "val")
    datasets.add_image(folder / "val/0.png")
    with pytest.raises(UserError, match=r"'folder:.*': val/0\.png: not in a class directory"):
        datasets.source(f"folder:{folder}")


def test_folder_identity_depends_on_its_files_alone(folder):
    def identity(**splits: str) -> str:
        return datasets.source(f"folder:{folder}", **splits).identity

    first = identity()
    assert identity() == first
    identities = {first}
    datasets.add_image(folder / "train" / "ant" / "new.png")
    identities.add(identity())
    datasets.add_image(folder / "train" / "ant" / "new.png", size=40)
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


def listed(folder: Path) -> list[tuple[str, int]]:
    originals = datasets.source(f"folder:{folder}").load()
    return datasets.contents(originals.train) + datasets.contents(originals.evaluation)


def test_link_to_another_part_of_the_folder_adds_no_images(folder, caplog):
    before = listed(folder)
    (folder / "train/ant/again").symlink_to(folder)
    (folder / "train/ant/other").symlink_to(folder / "train/bee")
    (folder / "val/bee/self").symlink_to(folder / "val/bee")
    caplog.clear()
    assert listed(folder) == before
    assert "left out 3 paths" in caplog.text
    assert f"{folder}/train/ant/again (the same directory as {folder})" in caplog.text


def test_linked_class_directories_are_listed(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    before = listed(folder)
    (folder / "train/ant").rename(elsewhere / "ants")
    (folder / "train/ant").symlink_to(elsewhere / "ants")
    assert listed(folder) == before


def test_evaluation_directory_that_is_the_training_directory_is_an_error(folder):
    (folder / "val").rename(folder / "unused")
    (folder / "val").symlink_to(folder / "train")
    with pytest.raises(UserError, match="val/ has no images"):
        datasets.source(f"folder:{folder}")


def test_only_regular_files_are_listed(folder, caplog):
    before = listed(folder)
    os.mkfifo(folder / "train/ant/pipe.png")
    (folder / "train/ant/link.png").symlink_to(folder / "train/ant/pipe.png")
    assert listed(folder) == before
    assert "left out 2 paths" in caplog.text


def test_class_that_cannot_be_listed_is_an_error(folder, monkeypatch):
    scandir = os.scandir

    def fail(path: str) -> object:
        if path == f"{folder}/train/bee":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)  # root may list every directory
    with pytest.raises(CommandError, match=f"{folder}/train/bee: Permission denied"):
        datasets.source(f"folder:{folder}")


def rename_class(folder: Path, name: bytes) -> None:
    for split in ("train", "val"):
        directory = folder / split / "bee"
        directory.rename(os.fsdecode(os.fsencode(directory.parent) + b"/" + name))


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        (b"a\nb\r\nc", "a b c"),
        (b" bee  hive ", "bee hive"),
        ("B\u0061\u0308r".encode(), "B\u00e4r"),
        (b"caf\xe9", r"caf\udce9"),
        (b"\x1b[1mbee", r"\x1b[1mbee"),
    ],
)
def test_class_names_become_normalized_lines_of_text(
    folder, tmp_path_factory, directory, name, caplog
):
    rename_class(folder, directory)
    prepared = datasets.prepared(f"folder:{folder}", 8, tmp_path_factory.mktemp("prepared"))
    assert prepared.class_names == sorted(["ant", name])
    assert prepared.num_examples == {"train": 4, "val": 4}
    assert all(record.message.encode() for record in caplog.records)  # no surrogates


def test_splits_may_write_a_class_name_differently(folder):
    (folder / "train/bee").rename(folder / "train/B\u00e4r")
    (folder / "val/bee").rename(folder / "val/Ba\u0308r ")
    assert datasets.source(f"folder:{folder}").class_names() == ["B\u00e4r", "ant"]


@pytest.mark.parametrize("name", ["ant ", "ant\n", "\u3000ant"])
def test_class_directories_of_one_name_are_an_error(folder, name):
    rename_class(folder, os.fsencode(name))
    with pytest.raises(UserError, match=r"class directories.*both with the name 'ant'"):
        datasets.source(f"folder:{folder}")


def hide(path: Path) -> None:
    path.rename(path.with_name(f".{path.name}"))


@pytest.mark.parametrize(
    ("damage", "phrases"),
    [
        (lambda root: hide(root / "train"), ["no train/", "train/CLASS/*"]),
        (lambda root: hide(root / "val"), ["neither val/ nor test/", "val/CLASS/*"]),
        (lambda root: hide(root / "val" / "bee"), ["same classes", "bee"]),
        (
            lambda root: [
                datasets.add_image(root / "train" / f"class{i}" / "0.png") for i in range(7)
            ],
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
        (
            lambda root: [file.unlink() for file in (root / "train" / "bee").iterdir()],
            ["train/", "no images of bee"],
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
    message = rf"config\.data\.{field}: 'nonsense' is not allowed; choose one of (train|test|val)"
    with pytest.raises(UserError, match=message):
        datasets.source(name, **{field: "nonsense"})
