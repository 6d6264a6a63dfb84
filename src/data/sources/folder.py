"""Directories of image files, one directory for each class."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ...errors import UserError
from ...filesystem import file_status, walk_files
from ..image_files import printable
from ..images import UnreadableImage
from .source import Example, FileStatus, Originals, Source, Split, choose_split

LAYOUT = "a directory with train/CLASS/* and val/CLASS/* (or test/CLASS/*)"

Listing = Mapping[str, list[str]]
"""The files of each class, as paths relative to the data set's directory."""


def folder_source(section: ConfigDict) -> Source:
    """The images in PATH/train/CLASS and PATH/val/CLASS (or test), of "folder:PATH"."""
    path = Path(section.dataset.removeprefix("folder:")).expanduser()
    field = f"config.data.dataset='folder:{path}'"
    if not path.is_dir():
        raise UserError(f"{field}: no such directory; give {LAYOUT}")
    if not (path / "train").is_dir():
        raise UserError(f"{field}: has no train/; give {LAYOUT}")
    eval_splits = [name for name in ("val", "test") if (path / name).is_dir()]
    if not eval_splits:
        raise UserError(f"{field}: has neither val/ nor test/; give {LAYOUT}")
    train_name = choose_split("train_split", section.train_split, ["train"])
    eval_name = choose_split("eval_split", section.eval_split, eval_splits)
    listings = _list_classes(path, field, (train_name, eval_name))
    _check_classes(field, listings)
    class_names = list(listings[train_name])
    files = {
        file: file_status(os.path.join(path, file))
        for listing in listings.values()
        for names in listing.values()
        for file in names
    }
    train, evaluation = (_make_split(path, *item, files) for item in listings.items())
    originals = Originals(class_names, train, evaluation)
    identity = _identity(listings, files)
    name = path.resolve().name
    return Source(name, identity, lambda: class_names, lambda: originals, path, files)


def _list_classes(path: Path, field: str, splits: Sequence[str]) -> dict[str, Listing]:
    """Lists the files of each class in each split, sorted by class."""
    files = walk_files(*(path / split for split in splits))
    listings: dict[str, Listing] = {}
    by_directory: dict[tuple[str, ...], list[str]] = {}
    for split in splits:
        directories: dict[str, str] = {}  # of the classes
        for directory in (path / split).iterdir():
            if directory.name.startswith(".") or not directory.is_dir():
                continue
            name = _class_name(directory.name)
            other = directories.setdefault(name, directory.name)
            if not name or other != directory.name:
                raise UserError(
                    f"{field}: {split}/ has class directories {directory.name!r} and {other!r}, "
                    f"both with the name {name!r}; rename or merge them"
                )
        listings[split] = {
            name: by_directory.setdefault((split, directories[name]), [])
            for name in sorted(directories)
        }
    start = len(str(path / "-")) - 1
    for file in files:  # as text, since pathlib takes longer than the system
        relative = str(file)[start:]
        split_and_class = tuple(relative.split(os.sep, 2)[:2])
        if split_and_class in by_directory:
            by_directory[split_and_class].append(relative)
    return listings


def _class_name(directory: str) -> str:
    """A name that a line of text can have: normalized, with single spaces, without controls."""
    return printable(" ".join(unicodedata.normalize("NFC", directory).split()))


def _check_classes(field: str, listings: Mapping[str, Listing]) -> None:
    (_, train), (eval_name, evaluation) = listings.items()
    if differing := sorted(train.keys() ^ evaluation.keys()):
        more = f" and {len(differing) - 5} more" if differing[5:] else ""
        raise UserError(
            f"{field}: train/ and {eval_name}/ must have the same classes; "
            f"only one of them has {', '.join(differing[:5])}{more}"
        )
    if len(train) < 2:
        raise UserError(f"{field}: train/ has {len(train)} class directories; give two or more")
    for name, listing in listings.items():
        if not any(listing.values()):
            raise UserError(f"{field}: {name}/ has no images in its class directories; add some")


def _make_split(path: Path, name: str, listing: Listing, files: Mapping[str, FileStatus]) -> Split:
    def examples() -> Iterator[Example]:
        for label, names in enumerate(listing.values()):
            for file in names:
                image = path / file if files[file] else UnreadableImage("dangling link")
                yield Example(file, label, image)

    return Split(name, sum(map(len, listing.values())), examples)


def _identity(listings: Mapping[str, Listing], files: Mapping[str, FileStatus]) -> str:
    """A hash of the files' names and sizes."""
    digest = hashlib.sha256()
    for name, listing in listings.items():
        for class_name, names in listing.items():
            digest.update(os.fsencode(f"{name}/{class_name}\n"))
            for file in names:
                size, _ = files[file] or (0, 0)
                digest.update(os.fsencode(f"{file} {size}\n"))
    return digest.hexdigest()
