"""Where original images come from: TFDS, image folders, or scikit-learn's digits."""

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from src.data.images import Original
from src.errors import UserError

FOLDER_LAYOUT = "a folder with train/CLASS/* and val/CLASS/* (or test/CLASS/*)"


class Example(NamedTuple):
    """One original."""

    name: str  # the file's, or whatever else the source tells its images apart by
    label: int
    image: Original


@dataclass(frozen=True)
class Split:
    """A part of a source; its examples come in the same order every time."""

    name: str
    num_examples: int
    examples: Callable[[], Iterator[Example]]


@dataclass(frozen=True)
class Originals:
    """All that a source holds. The training split's name is "train", the other's is not."""

    class_names: list[str]
    train: Split
    evaluation: Split


@dataclass(frozen=True)
class Source:
    """A source that is known, but whose images `load` may yet have to download."""

    name: str
    identity: str  # differs when the images or the splits do
    class_names: Callable[[], list[str]]  # without the images
    load: Callable[[], Originals]


def source(
    dataset: str, *, train_split: str = "", eval_split: str = "", tfds_dir: str = ""
) -> Source:
    """Finds a data set.

    Args:
      dataset: "digits"; "folder:PATH", with train/CLASS/* and val/CLASS/* or test/CLASS/*; or a
        TFDS name such as "imagenet2012" or "imagenette/320px-v2".
      train_split: what to train on; TFDS's can be slices ("train[:90%]"). Empty: "train".
      eval_split: what to evaluate on. Empty: the first of validation, val and test there is.
      tfds_dir: where TFDS keeps its data sets. Empty: where it does by default.

    Raises:
      UserError: there is no such data set or split, or it is not one of images in classes. What
        can only be known with the data of a TFDS name at hand is raised by `Source.load`.
    """
    if dataset == "digits":
        return _digits(train_split, eval_split)
    if dataset.startswith("folder:"):
        return _folder(Path(dataset.removeprefix("folder:")).expanduser(), train_split, eval_split)
    return _tfds(dataset, train_split, eval_split, tfds_dir)


def _choose(field: str, wanted: str, available: list[str]) -> str:
    if wanted and wanted not in available:
        raise UserError(f"config.data.{field}={wanted!r}: there is only {' and '.join(available)}")
    return wanted or available[0]


def _digits(train_split: str, eval_split: str) -> Source:
    _choose("train_split", train_split, ["train"])
    _choose("eval_split", eval_split, ["test"])

    def load() -> Originals:
        from sklearn.datasets import load_digits  # takes a second to import
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = (digits.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8)
        train, test = train_test_split(
            np.arange(len(images)), test_size=0.2, stratify=digits.target, random_state=0
        )

        def split(name: str, indices: np.ndarray) -> Split:
            return Split(
                name,
                len(indices),
                lambda: (Example(f"{i}", int(digits.target[i]), images[i]) for i in indices),
            )

        class_names = [str(name) for name in digits.target_names]
        return Originals(class_names, split("train", train), split("test", test))

    return Source("digits", "digits", lambda: load().class_names, load)


def _folder(path: Path, train_split: str, eval_split: str) -> Source:
    field = f"config.data.dataset='folder:{path}'"
    if not path.is_dir():
        raise UserError(f"{field}: no such folder; give {FOLDER_LAYOUT}")
    if not (path / "train").is_dir():
        raise UserError(f"{field}: it has no train/; give {FOLDER_LAYOUT}")
    evaluations = [name for name in ("val", "test") if (path / name).is_dir()]
    if not evaluations:
        raise UserError(f"{field}: it has neither val/ nor test/; give {FOLDER_LAYOUT}")
    train_name = _choose("train_split", train_split, ["train"])
    eval_name = _choose("eval_split", eval_split, evaluations)

    train, evaluation = _listing(path, train_name), _listing(path, eval_name)
    if only_one := sorted(train.keys() ^ evaluation.keys()):
        raise UserError(
            f"{field}: train/ and {eval_name}/ must have the same classes; "
            f"only one of them has {_enumerate(only_one)}"
        )
    if len(train) < 2:
        raise UserError(f"{field}: train/ has {len(train)} class folders; give two or more")
    for name, listing in ((train_name, train), (eval_name, evaluation)):
        if not any(listing.values()):
            raise UserError(f"{field}: {name}/ has no images in its class folders; put some there")

    def split(name: str, listing: dict[str, list[str]]) -> Split:
        def examples() -> Iterator[Example]:
            for label, files in enumerate(listing.values()):
                for file in files:
                    yield Example(file, label, path / file)

        return Split(name, sum(map(len, listing.values())), examples)

    digest = hashlib.sha256()
    for name, listing in ((train_name, train), (eval_name, evaluation)):
        for class_name, files in listing.items():
            digest.update(os.fsencode(f"{name}/{class_name}\n"))
            for file in files:
                there = os.path.join(path, file)
                try:
                    size = os.stat(there).st_size
                except OSError:  # a dangling link is no reason to stop: an unreadable image
                    size = 0
                digest.update(os.fsencode(f"{file} {size}\n"))
    originals = Originals(list(train), split(train_name, train), split(eval_name, evaluation))
    return Source(
        path.resolve().name, digest.hexdigest(), lambda: originals.class_names, lambda: originals
    )


def _listing(root: Path, split: str) -> dict[str, list[str]]:
    """The files of each class, however deep: paths from the root, sorted, no hidden ones."""

    def files(class_folder: Path) -> Iterator[str]:
        for parent, folders, names in os.walk(class_folder, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = os.path.relpath(parent, root)
            yield from (os.path.join(inside, n) for n in sorted(names) if not n.startswith("."))

    classes = (f for f in (root / split).iterdir() if f.is_dir() and not f.name.startswith("."))
    return {class_folder.name: list(files(class_folder)) for class_folder in sorted(classes)}


def _enumerate(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _tfds(name: str, train_split: str, eval_split: str, tfds_dir: str) -> Source:
    field = f"config.data.dataset={name!r}"
    base = name.partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    folder = Path(tfds_dir or tfds.core.constants.DATA_DIR).expanduser() / base
    try:
        if base not in known and not folder.exists():  # TFDS would go and ask the network
            raise ValueError(f"unknown: {base}")
        builder = tfds.builder(name, data_dir=tfds_dir or None)
    except (ValueError, AssertionError):  # name, configuration and version, in TFDS's words
        if base in known:
            known += [f"{base}/{config}" for config in tfds.builder_cls(base).builder_configs]
        close = " or ".join(difflib.get_close_matches(name, known)) or "digits or folder:PATH"
        raise UserError(f"{field}: TFDS has no such data set; perhaps {close}") from None

    def class_names() -> list[str]:
        return builder.info.features[_supervised(builder, tfds.features.ClassLabel)].names

    def load() -> Originals:
        try:
            builder.download_and_prepare()
        except AssertionError as error:
            if builder.MANUAL_DOWNLOAD_INSTRUCTIONS is None:
                raise
            # It says which archives TFDS may not download are to be put where.
            raise UserError(f"{field}: {' '.join(str(error).split())}") from None

        splits = builder.info.splits
        evaluations = [s for s in ("validation", "val", "test") if s in splits]
        if not (evaluations or eval_split):
            raise UserError(
                f"config.data.eval_split='': {name} has only {' and '.join(splits)}; "
                'give a part of it, such as config.data.train_split="train[:90%]" and '
                'config.data.eval_split="train[90%:]"'
            )
        image = _supervised(builder, tfds.features.Image)
        label = _supervised(builder, tfds.features.ClassLabel)
        texts = _features(builder, tfds.features.Text)
        file = next((text for text in texts if "file" in text or text == "id"), None)

        def split(split_name: str, field: str, part: str) -> Split:
            try:
                num_examples = splits[part].num_examples
            except ValueError:
                there = " and ".join(splits)
                raise UserError(
                    f"config.data.{field}={part!r}: {name} has {there}; give one or a slice of one"
                ) from None

            def examples() -> Iterator[Example]:
                for i, example in enumerate(_read(builder, part, image)):
                    named = example[file].decode() if file else f"{part}/{i}"
                    yield Example(named, int(example[label]), example[image])

            return Split(split_name, num_examples, examples)

        train_part, eval_part = train_split or "train", eval_split or evaluations[0]
        eval_name = re.split(r"\W", eval_part)[0]  # "test[:100]" is a part of "test"
        return Originals(
            class_names(),
            split("train", "train_split", train_part),
            split("validation" if eval_name == "train" else eval_name, "eval_split", eval_part),
        )

    identity = f"{builder.info.full_name} {train_split} {eval_split}"
    return Source(name, identity, class_names, load)


def _features(builder: tfds.core.DatasetBuilder, kind: type) -> list[str]:
    features = builder.info.features.items()
    return sorted(name for name, feature in features if isinstance(feature, kind))


def _supervised(builder: tfds.core.DatasetBuilder, kind: type) -> str:
    """The feature of a kind that the data set is meant to be learned with."""
    features = _features(builder, kind)
    if len(features) > 1:
        features = [name for name in features if name in (builder.info.supervised_keys or ())]
    if len(features) != 1:
        raise UserError(
            f"config.data.dataset={builder.info.full_name!r}: which {kind.__name__} to learn with "
            f"is not clear, it has {_features(builder, kind)}; give a set of classified images"
        )
    return features[0]


def _read(builder: tfds.core.DatasetBuilder, split: str, image: str) -> Iterator[dict[str, Any]]:
    """The examples, with images as the bytes of their files: threads of ours will decode them."""
    as_bytes = {image: tfds.decode.SkipDecoding()}
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        yield from builder.as_data_source(split, decoders=as_bytes)
    else:
        import tensorflow as tf  # not needed for data that is prepared, and slow to import

        tf.config.set_visible_devices([], "GPU")  # they are JAX's
        yield from builder.as_dataset(split, decoders=as_bytes).as_numpy_iterator()
