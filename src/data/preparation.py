"""Prepares a source once for training: small images, their mean image, the PCA of their colors.

The authors also "down-sampled the images to a fixed resolution of 256x256" (section 2). The result
is an ordinary TFDS data set in ArrayRecord format, which allows random access.
"""

import contextlib
import itertools
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from ..errors import UserError
from ..filesystem import build_once, read_file, write_json
from . import images
from .contents import Contents, digest_of
from .dataset import DIGESTS, REPORT, PreparedDataset, naming_damage
from .image_files import printable
from .parallel import compute_ahead
from .sources import find_source
from .sources.source import Example, MissingOriginals, Source, Split
from .statistics import PixelSums

logger = logging.getLogger(__name__)

FORMAT = 2  # increase it when preparing the same source gives another result than before
EXAMPLES_PER_SHARD = 8192  # of 34 kB each: 280 MB
AHEAD = 256  # images in progress, with their pixels: about 100 MB


def prepare_dataset(
    section: ConfigDict,
    trains: bool = True,
    check_classes: Callable[[list[str]], None] = lambda _: None,
    own: str = "",
) -> PreparedDataset:
    """Opens the prepared data set; first prepares it if it is missing or if its source changed.

    If several processes ask for the same data set, the first prepares it while the others wait. A
    killed process leaves no incomplete data set behind. Where the originals are missing, it opens
    `own`, or else what was last prepared from them. Each call logs which images are left out.

    Args:
      section: `config.data`.
      trains: whether to prepare the training split too, with its statistics.
      check_classes: raises if the names of the classes are wrong, before anything is prepared.
      own: the name of the prepared data set that a run was trained on; "" for none.

    Raises:
      UserError: see `find_source`; also if no image of a class can be decoded, or if a label of the
        evaluation split is not the number of a class.
      CommandError: the system cannot read a file.
    """
    last, class_names = _last_prepared(section, trains), None
    try:
        source = find_source(section, trains)
    except MissingOriginals:
        directory = last.with_name(own) if own else None
        directory = directory if directory and directory.exists() else _read_last(last)
        if not directory:
            raise
        message = "config.data.dataset=%r: its images are missing; using the prepared %s"
        logger.warning(message, section.dataset, directory)
    else:
        class_names = source.class_names()
        check_classes(class_names)
        directory = _find_or_fill(section, source)
        if directory != _read_last(last):
            with contextlib.suppress(OSError):  # whoever can read prepared data may use them
                write_json(last, directory.name)
    dataset = PreparedDataset(directory, section.cache_gb)
    with naming_damage(directory):
        if class_names not in (None, dataset.class_names):
            raise ValueError("the names of its classes are not those of its source")
        check_classes(dataset.class_names)
        _log_report(dataset)
    return dataset


def _last_prepared(section: ConfigDict, trains: bool) -> Path:
    """The file with the name of the data set that was last prepared from a source."""
    root, place = Path(section.root).expanduser(), section.dataset
    if place.startswith("folder:"):
        path = Path(place.removeprefix("folder:")).expanduser()
        place = path if path.is_absolute() else os.path.relpath(path, root)
    key = f"{place} {section.train_split} {section.eval_split} {section.size} {trains}"
    return root / f".last-{digest_of(os.fsencode(key))[:8]}.json"


def _read_last(file: Path) -> Path | None:
    try:
        directory = file.with_name(json.loads(file.read_text()))
    except (OSError, ValueError):
        return None
    return directory if directory.exists() else None


def _find_or_fill(section: ConfigDict, source: Source) -> Path:
    root = Path(section.root).expanduser()
    name = re.sub(r"[^a-z0-9]+", "_", source.name.lower()).strip("_") or "images"
    identity = f"{section.size}px-{digest_of(f'{FORMAT} {source.identity}'.encode())[:8]}"
    place = digest_of(os.fsencode(source.directory.resolve()))[:8]
    contents = Contents(source.directory, source.files, root / f".{name}-{place}.files.json")

    def find() -> Path | None:
        contents.load()
        suffix = contents.suffix()
        equal = [] if suffix is None else root.glob(f"*-{identity}{suffix}")  # of any name
        return min(equal, default=None)

    def fill(path: Path) -> Path | None:
        if any(root.glob(f"*-{identity}-*")):  # files of these names and sizes, perhaps the same
            contents.read_missing()
            contents.save()
            if directory := find():
                return directory
        _fill(path, name, section, source, contents)
        contents.read_missing()  # of files in a split that is not prepared
        contents.save()
        return root / f"{name}-{identity}{contents.suffix()}"

    return build_once(root / f"{name}-{identity}", fill, find)


def _fill(
    directory: Path, name: str, section: ConfigDict, source: Source, contents: Contents
) -> None:
    import tensorflow_datasets as tfds

    originals, size = source.load(), section.size
    class_names = source.class_names()
    features = {
        "image": tfds.features.Image(shape=(size, size, 3), encoding_format=images.encoding(size)),
        "label": tfds.features.ClassLabel(names=class_names),
        "file": tfds.features.Text(),
    }
    version = tfds.core.Version("1.0.0")
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(name, version, str(directory), module_name=__name__),
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
    )
    writer = tfds.core.SequentialWriter(info, EXAMPLES_PER_SHARD, file_format="array_record")
    splits = [split for split in (originals.train, originals.evaluation) if split]
    writer.initialize_splits([split.name for split in splits])
    parts = {
        split.name: _PreparedSplit(split, section, class_names, contents, split is originals.train)
        for split in splits
    }
    for split, part in reversed(parts.items()):  # errors of the small one show before hours
        records = part.records()
        # The writer rewrites the metadata at each call.
        while batch := list(itertools.islice(records, 512)):
            writer.add_examples({split: batch})
    writer.close_all()
    if train := parts.get("train"):
        np.savez(directory / "statistics.npz", **train.sums.statistics()._asdict())
    report = {split: part.report(train) for split, part in parts.items()}
    (directory / REPORT).write_text(json.dumps(report, indent=2))
    digests = {split: [digest for _, digest in part.digests] for split, part in parts.items()}
    (directory / DIGESTS).write_text(json.dumps(digests))


class _Result(NamedTuple):
    """What became of an original image."""

    example: Example
    digest: str  # of its content
    reason: str = ""  # why it is left out
    encoded: bytes = b""
    pixels: np.ndarray = np.empty(0)  # as training reads them
    products: np.ndarray = np.empty(0)  # float64 (3, 3): sums over the pixels, of pairs of colors


class _PreparedSplit:
    """Prepares a split, adds digests to `contents`, and keeps what statistics and report need."""

    def __init__(
        self,
        split: Split,
        section: ConfigDict,
        class_names: list[str],
        contents: Contents,
        trains: bool,
    ):
        self.sums = PixelSums(section.size)
        self.digests: list[tuple[str, str]] = []  # the names of prepared images, with the digests
        self._split, self._class_names, self._contents = split, class_names, contents
        self._dataset, self._size = section.dataset, section.size
        self._labels, self._trains = range(len(class_names)), trains
        self._kept: Counter[int] = Counter()  # images of each label
        self._left_out: list[dict[str, Any]] = []

    def records(self) -> Iterator[dict[str, Any]]:
        split = self._split
        results = compute_ahead(self._prepare, split.examples(), AHEAD)
        bar = tqdm(results, split.name, split.num_examples, unit=" images", mininterval=1)
        for (name, label, _), digest, reason, encoded, pixels, products in bar:
            self._contents.add(name, digest)
            if reason:
                self._left_out.append({"file": name, "label": label, "reason": reason})
                continue
            self.digests.append((name, digest))
            self._kept[label] += 1
            self.sums.add(pixels, products)
            yield {"image": encoded, "label": label, "file": os.fsencode(name)}  # maybe not UTF-8
        self._check_classes()

    def report(self, train: "_PreparedSplit | None") -> dict[str, Any]:
        """What report.json has about the split."""
        report = {"examples": self._kept.total(), "left_out": self._left_out}
        if train not in (self, None):
            digests = {digest for _, digest in train.digests}
            report["in_train"] = [name for name, digest in self.digests if digest in digests]
        return {**report, "class_counts": [self._kept[label] for label in self._labels]}

    def _prepare(self, example: Example) -> _Result:
        image, digest = example.image, ""
        try:
            if isinstance(image, images.UnreadableImage):
                raise image
            if isinstance(image, Path):
                image = read_file(image)
            digest = digest_of(image.tobytes() if isinstance(image, np.ndarray) else image)
            self._check_label(example)
            encoded = images.prepare(image, self._size)
        except images.UnreadableImage as error:
            images.refuse_lack_of_memory(example.name, error)
            return _Result(example, digest, str(error))
        pixels = images.decode(encoded)
        colors = pixels.reshape(-1, 3).astype(np.float64)
        return _Result(example, digest, "", encoded, pixels, colors.T @ colors)

    def _check_label(self, example: Example) -> None:
        if example.label in self._labels:
            return
        reason = f"label {example.label} is not one of 0…{self._labels[-1]}"
        if self._trains:
            raise images.UnreadableImage(reason)
        raise UserError(
            f"config.data.eval_split={self._split.name!r}: {example.name}: {reason}; give a split "
            "whose images all have labels"
        )

    def _check_classes(self) -> None:
        """Raises UserError if a class, or the whole split, has lost all its images."""
        lost = [entry for entry in self._left_out if not self._kept[entry["label"]]]
        if self._kept:
            lost = [entry for entry in lost if entry["label"] in self._labels]
        if lost:
            label = lost[0]["label"]
            group = [entry for entry in lost if entry["label"] == label]
            name = repr(self._class_names[label]) if label in self._labels else label
            raise UserError(
                f"config.data.dataset={self._dataset!r}: none of the {len(group)} images of "
                f"{self._split.name} with label {name} can be used: {_name_some(group)}"
            )


def _log_report(dataset: PreparedDataset) -> None:
    """Logs which images a prepared data set lacks, and which it evaluates on after training."""
    listed = f"{dataset.directory}/{REPORT} lists them"
    for split, part in dataset.report.items():
        kept, repeated = part["examples"], part.get("in_train", [])
        if left_out := part["left_out"]:
            total, again = kept + len(left_out), "remove the directory to try them again"
            message = "%s: left out %d of %d images (%s; %s): %s"
            some = _name_some(left_out)
            logger.warning(message, split, len(left_out), total, listed, again, some)
        if repeated:
            some = "; ".join(map(printable, repeated[:3]))
            message = "%s: %d of %d images are also in train (%s): %s"
            logger.warning(message, split, len(repeated), kept, listed, some)


def _name_some(left_out: list[dict[str, Any]]) -> str:
    """The first images that are left out, with the reasons, for a line of text."""
    return "; ".join(f"{printable(entry['file'])} ({entry['reason']})" for entry in left_out[:3])
