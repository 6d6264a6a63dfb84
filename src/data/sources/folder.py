"""Directories of image files, one directory for each class."""

import bisect
import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ...errors import UserError, list_names
from ...filesystem import FileStatus, walk_files
from ..contents import read_digests
from ..image_files import printable
from ..images import UnreadableImage
from .source import Example, MissingOriginals, Originals, Source, Split, choose_split

logger = logging.getLogger(__name__)

LAYOUT = "a directory with train/CLASS/* and val/CLASS/* (or test/CLASS/*), or only CLASS/*"
EVAL_SPLITS = ("val", "valid", "validation", "test")
SPLIT_NAME = re.compile("train(ing)?|val(id(ation)?)?|test(ing)?", re.IGNORECASE)
TENTH = f"{2**128 // 10:032x}"  # a tenth of all digests are less

Listing = Mapping[str, dict[str, FileStatus]]
"""The files of each class with their status, as paths relative to the data set's directory."""


def folder_source(section: ConfigDict, trains: bool) -> Source:
    """The images in PATH/train/CLASS and PATH/val/CLASS, of "folder:PATH".

    valid/, validation/ and test/ are evaluation splits too. Without any directory of a split, the
    classes are PATH/CLASS, and `_split` makes the splits "train" and "val".
    """
    path = Path(section.dataset.removeprefix("folder:")).expanduser()
    field = f"config.data.dataset='folder:{path}'"
    if not path.is_dir() or not any(path.iterdir()):  # a disk that is not mounted is empty
        raise MissingOriginals(f"{field}: no such directory, or an empty one; give {LAYOUT}")
    directories = {directory.name for directory in _subdirectories(path, field)}
    is_split = any(map(SPLIT_NAME.fullmatch, directories))
    if is_split and trains and "train" not in directories:
        raise UserError(f"{field}: has no train/; give {LAYOUT}")
    eval_splits = [name for name in EVAL_SPLITS if name in directories] if is_split else ["val"]
    if not eval_splits:
        raise UserError(f"{field}: has neither val/ nor test/; give {LAYOUT}")
    choose_split("train_split", section.train_split, ["train"])
    eval_name = choose_split("eval_split", section.eval_split, eval_splits)
    names = ["train", eval_name] if trains else [eval_name]
    if not is_split:
        logger.info("%s: has only classes; val is a tenth of each, chosen by the contents", path)
    listings = _list_classes(path, field, names if is_split else [""])
    _check_classes(field, listings)
    class_names = list(next(iter(listings.values())))
    files = {
        file: status
        for listing in listings.values()
        for class_files in listing.values()
        for file, status in class_files.items()
    }

    def load() -> Originals:
        parts = listings if is_split else _split(path, field, listings[""])
        splits = {name: _make_split(path, name, parts[name]) for name in names}
        return Originals(splits.get("train"), splits[eval_name])

    identity = _identity(listings) if is_split else f"{_identity(listings)} {names}"
    return Source(path.resolve().name, identity, lambda: class_names, load, path, files)


def _list_classes(path: Path, field: str, splits: Sequence[str]) -> dict[str, Listing]:
    """Lists the files of each class in each split, sorted by class; "" is the directory itself."""
    classes = {split: _class_directories(path, split, field) for split in splits}
    found: dict[str, dict[str, FileStatus]] = {
        directory: {} for directories in classes.values() for directory in directories.values()
    }
    loose: dict[str, FileStatus] = {}
    start, depth = len(str(path / "-")) - 1, 2 if splits[0] else 1
    for file, status in walk_files(*(path / split for split in splits)).items():
        relative = file[start:]  # as text, since pathlib takes longer than the system
        directory = os.sep.join(relative.split(os.sep, depth)[:depth])
        found.get(directory, loose)[relative] = status
    if loose:
        some = "; ".join(map(printable, list(loose)[:3]))
        if not all(classes.values()):
            raise UserError(f"{field}: {some}: not in a class directory; move it to one")
        logger.warning("%s: left out %d files outside classes: %s", path, len(loose), some)
    return {
        split: {name: found[directory] for name, directory in directories.items()}
        for split, directories in classes.items()
    }


def _subdirectories(path: Path, field: str) -> Iterator[Path]:
    for entry in path.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and not entry.exists():  # perhaps to a disk that is not mounted
            advice = "mount its disk, or remove the link"
            raise UserError(f"{field}: {str(entry)!r} is a dangling link; {advice}")
        if entry.is_dir():
            yield entry


def _class_directories(path: Path, split: str, field: str) -> dict[str, str]:
    """The directories of the classes, relative to the path, sorted by the classes' names."""
    directories: dict[str, str] = {}
    for directory in _subdirectories(path / split, field):
        # A line of text: normalized, with single spaces, without controls.
        name = printable(" ".join(unicodedata.normalize("NFC", directory.name).split()))
        relative = os.path.join(split, directory.name)
        other = directories.setdefault(name, relative)
        if not name or other != relative:
            raise UserError(
                f"{field}: has class directories {relative!r} and {other!r}, both with the name "
                f"{name!r}; rename or merge them"
            )
    return dict(sorted(directories.items()))


def _check_classes(field: str, listings: Mapping[str, Listing]) -> None:
    names = list(listings)
    first, last = listings[names[0]], listings[names[-1]]
    if differing := sorted(first.keys() ^ last.keys()):
        raise UserError(
            f"{field}: train/ and {names[-1]}/ must have the same classes; "
            f"only one of them has {list_names(differing)}"
        )
    if len(first) < 2:
        raise UserError(f"{field}: has {len(first)} class directories; give two or more")
    for name, listing in listings.items():
        empty = [class_name for class_name, files in listing.items() if not files]
        if len(empty) == len(listing) or (empty and name == "train"):
            missing = list_names(empty)
            raise UserError(f"{field}: {name or '.'}/ has no images of {missing}; add some")


def _split(path: Path, field: str, listing: Listing) -> Mapping[str, Listing]:
    """Evaluates on a tenth of each class: the images whose digests are below a bound.

    A new image therefore moves no other, and equal images stay together. Only where a class would
    have no image in one of the splits, its lowest or highest digest decides.
    """
    readable = [file for files in listing.values() for file, status in files.items() if status]
    digests = read_digests(path, readable)
    parts: dict[str, dict[str, dict[str, FileStatus]]] = {"train": {}, "val": {}}
    for name, files in listing.items():
        different = sorted({digests[file] for file in files if file in digests})
        if len(different) < 2:
            raise UserError(f"{field}: {name!r} has {len(different)} different images; add some")
        count = min(max(bisect.bisect(different, TENTH), 1), len(different) - 1)
        evaluated = set(different[:count])
        for file, status in files.items():
            part = parts["val" if digests.get(file) in evaluated else "train"]
            part.setdefault(name, {})[file] = status
    return parts


def _make_split(path: Path, name: str, listing: Listing) -> Split:
    def examples() -> Iterator[Example]:
        for label, files in enumerate(listing.values()):
            for file, status in files.items():
                image = path / file if status else UnreadableImage("dangling link")
                yield Example(file, label, image)

    return Split(name, sum(map(len, listing.values())), examples)


def _identity(listings: Mapping[str, Listing]) -> str:
    """A hash of the files' names and sizes."""
    digest = hashlib.sha256()
    for name, listing in listings.items():
        for class_name, files in listing.items():
            digest.update(os.fsencode(f"{name}/{class_name}\n"))
            for file, status in files.items():
                size, _ = status or (0, 0)
                digest.update(os.fsencode(f"{file} {size}\n"))
    return digest.hexdigest()
