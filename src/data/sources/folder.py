"""Folders of image files, a folder for each class."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from ...errors import UserError
from ...filesystem import walk_files
from .source import Example, Originals, Source, Split, choose_split

LAYOUT = "a folder with train/CLASS/* and val/CLASS/* (or test/CLASS/*)"

Listing = Mapping[str, list[str]]
"""The files of each class, as paths from the data set's folder."""


def folder_source(section: ConfigDict) -> Source:
    """The images in PATH/train/CLASS and PATH/val/CLASS (or test), of "folder:PATH"."""
    path = Path(section.dataset.removeprefix("folder:")).expanduser()
    field = f"config.data.dataset='folder:{path}'"
    evaluations = _find_evaluations(field, path)
    train_name = choose_split("train_split", section.train_split, ["train"])
    eval_name = choose_split("eval_split", section.eval_split, evaluations)
    listings = {name: _list(path, name) for name in (train_name, eval_name)}
    _check_classes(field, listings)
    class_names = list(listings[train_name])
    train, evaluation = (_make_split(path, *item) for item in listings.items())
    originals = Originals(class_names, train, evaluation)
    identity = _identity(path, listings)
    return Source(path.resolve().name, identity, lambda: class_names, lambda: originals)


def _find_evaluations(field: str, path: Path) -> list[str]:
    if not path.is_dir():
        raise UserError(f"{field}: no such folder; give {LAYOUT}")
    if not (path / "train").is_dir():
        raise UserError(f"{field}: it has no train/; give {LAYOUT}")
    evaluations = [name for name in ("val", "test") if (path / name).is_dir()]
    if not evaluations:
        raise UserError(f"{field}: it has neither val/ nor test/; give {LAYOUT}")
    return evaluations


def _list(path: Path, split: str) -> Listing:
    classes = (f for f in (path / split).iterdir() if f.is_dir() and not f.name.startswith("."))
    return {
        directory.name: [os.path.relpath(file, path) for file in walk_files(directory)]
        for directory in sorted(classes)
    }


def _check_classes(field: str, listings: Mapping[str, Listing]) -> None:
    (_, train), (eval_name, evaluation) = listings.items()
    if in_one := sorted(train.keys() ^ evaluation.keys()):
        names = ", ".join(in_one[:5]) + (f" and {len(in_one) - 5} more" if in_one[5:] else "")
        raise UserError(
            f"{field}: train/ and {eval_name}/ must have the same classes; "
            f"only one of them has {names}"
        )
    if len(train) < 2:
        raise UserError(f"{field}: train/ has {len(train)} class folders; give two or more")
    for name, listing in listings.items():
        if not any(listing.values()):
            raise UserError(f"{field}: {name}/ has no images in its class folders; put some there")


def _make_split(path: Path, name: str, listing: Listing) -> Split:
    def examples() -> Iterator[Example]:
        for label, files in enumerate(listing.values()):
            for file in files:
                yield Example(file, label, path / file)

    return Split(name, sum(map(len, listing.values())), examples)


def _identity(path: Path, listings: Mapping[str, Listing]) -> str:
    """Changes with the names and the sizes of the files."""
    digest = hashlib.sha256()
    for name, listing in listings.items():
        for class_name, files in listing.items():
            digest.update(os.fsencode(f"{name}/{class_name}\n"))
            for file in files:
                try:
                    size = os.stat(os.path.join(path, file)).st_size
                except OSError:  # a dangling link counts as an unreadable image later
                    size = 0
                digest.update(os.fsencode(f"{file} {size}\n"))
    return digest.hexdigest()
