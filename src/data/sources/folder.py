"""Folders of image files, a folder for each class."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from ...errors import UserError
from ...filesystem import walk_files
from .source import Example, Originals, Source, Split, choose_split

FOLDER_LAYOUT = "a folder with train/CLASS/* and val/CLASS/* (or test/CLASS/*)"


def folder_source(section: ConfigDict) -> Source:
    """The images in PATH/train/CLASS and PATH/val/CLASS (or test), of "folder:PATH"."""
    path = Path(section.dataset.removeprefix("folder:")).expanduser()
    field = f"config.data.dataset='folder:{path}'"
    if not path.is_dir():
        raise UserError(f"{field}: no such folder; give {FOLDER_LAYOUT}")
    if not (path / "train").is_dir():
        raise UserError(f"{field}: it has no train/; give {FOLDER_LAYOUT}")
    evaluations = [name for name in ("val", "test") if (path / name).is_dir()]
    if not evaluations:
        raise UserError(f"{field}: it has neither val/ nor test/; give {FOLDER_LAYOUT}")
    train_name = choose_split("train_split", section.train_split, ["train"])
    eval_name = choose_split("eval_split", section.eval_split, evaluations)

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
    """The files of each class, however deep, as paths from the root."""
    classes = (f for f in (root / split).iterdir() if f.is_dir() and not f.name.startswith("."))
    return {
        directory.name: [os.path.relpath(file, root) for file in walk_files(directory)]
        for directory in sorted(classes)
    }


def _enumerate(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
