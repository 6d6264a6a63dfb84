"""Directories of image files, one directory for each class."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from ...errors import UserError
from ...filesystem import walk_files
from .source import Example, Originals, Source, Split, choose_split

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
    listings = {name: _list_classes(path, name) for name in (train_name, eval_name)}
    _check_classes(field, listings)
    class_names = list(listings[train_name])
    train, evaluation = (_make_split(path, *item) for item in listings.items())
    originals = Originals(class_names, train, evaluation)
    identity = _identity(path, listings)
    return Source(path.resolve().name, identity, lambda: class_names, lambda: originals)


def _list_classes(path: Path, split: str) -> Listing:
    classes = (d for d in (path / split).iterdir() if d.is_dir() and not d.name.startswith("."))
    return {d.name: [os.path.relpath(f, path) for f in walk_files(d)] for d in sorted(classes)}


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


def _make_split(path: Path, name: str, listing: Listing) -> Split:
    def examples() -> Iterator[Example]:
        for label, files in enumerate(listing.values()):
            yield from (Example(file, label, path / file) for file in files)

    return Split(name, sum(map(len, listing.values())), examples)


def _identity(path: Path, listings: Mapping[str, Listing]) -> str:
    """A hash of the files' names and sizes."""
    digest = hashlib.sha256()
    for name, listing in listings.items():
        for class_name, files in listing.items():
            digest.update(os.fsencode(f"{name}/{class_name}\n"))
            for file in files:
                try:
                    size = os.stat(path / file).st_size
                except OSError:  # a dangling link counts as an unreadable image later
                    size = 0
                digest.update(os.fsencode(f"{file} {size}\n"))
    return digest.hexdigest()
