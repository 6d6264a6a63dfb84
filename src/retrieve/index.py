"""The features of many images, computed once and kept."""

import hashlib
import itertools
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..data.image_files import find_images, printable
from ..data.images import RawImage, decode
from ..data.preparation import prepare_dataset
from ..errors import UserError
from ..filesystem import build_once
from ..inference.classifier import Classifier
from ..runs.checkpoint import checksum
from ..runs.workdir import check_data

logger = logging.getLogger(__name__)


class Index(NamedTuple):
    """Images, and what a layer makes of each."""

    entries: list[dict[str, str]]  # of each image its "file" and, in a split, its "class"
    features: np.ndarray  # float32 (N, …), a memory map


class Images(NamedTuple):
    """What an index is made of."""

    identity: str  # changes when the images do
    total: int
    entries: Iterable[tuple[dict[str, str], RawImage]]  # each beside its image


def open_index(workdir: Path, classifier: Classifier, where: str, layer: str) -> Index:
    """The features of all images in a folder or a split; computed, with progress, the first time.

    They are computed anew when the network or the images have changed; of the same network and
    place then only the new ones are kept.

    Args:
      workdir: the classifier's, which keeps them.
      where: a folder, or the name of a split of the data that the network was trained on.
      layer: whose features.

    Raises:
      UserError: there is no such folder, split or layer, or it has no image that can be read.
    """
    folder = Path(where)
    images = _of_folder(folder) if folder.is_dir() else _of_split(workdir, classifier, where)
    of_place = f"{layer}-{_digest(f'{checksum(classifier.params)} {where}')}"
    directory = workdir / "index" / f"{of_place}-{_digest(images.identity)}"
    try:
        build_once(directory, lambda into: _fill(into, classifier, images, layer, where))
        for other in set(directory.parent.glob(f"{of_place}-{'?' * 16}")) - {directory}:
            shutil.rmtree(other)
    except OSError as error:
        raise UserError(f"workdir {workdir}: the index can't be kept there: {error}") from None
    made = json.loads((directory / "entries.json").read_text())
    shape = (len(made["entries"]), *made["shape"])
    features = np.memmap(directory / "features.float32", np.float32, "r", shape=shape)
    return Index(made["entries"], features)


def _digest(identity: str) -> str:
    return hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]


def _of_folder(folder: Path) -> Images:
    found = find_images([str(folder)])
    stats = [os.stat(image.name) for image in found]
    listing = [
        (image.name, stat.st_size, stat.st_mtime_ns)
        for image, stat in zip(found, stats, strict=True)
    ]
    entries = [({"file": image.name}, image.original) for image in found]
    return Images(repr(listing), len(entries), entries)


def _of_split(workdir: Path, classifier: Classifier, split: str) -> Images:
    data = prepare_dataset(classifier.config.data)
    check_data(workdir, data)
    if split not in data.num_examples:
        raise UserError(
            f"--index={split}: neither a folder nor a split, which are "
            f"{' and '.join(data.num_examples)}"
        )
    records, count = data.records(split), data.num_examples[split]

    def entries() -> Iterator[tuple[dict[str, str], np.ndarray]]:
        for index in range(count):
            (encoded,), (label,) = records.read(np.array([index]))
            entry = {"file": records.file(index), "class": data.class_names[label]}
            yield entry, decode(encoded)

    return Images(f"{data.directory.name} {split}", count, entries())


def _fill(directory: Path, classifier: Classifier, images: Images, layer: str, where: str) -> None:
    entries, again = itertools.tee(images.entries)
    of_files = classifier.file_features((original for _, original in again), layer)
    bar = tqdm(of_files, "index", images.total, unit=" images", mininterval=1)
    readable, unreadable, shape = [], [], ()
    with (directory / "features.float32").open("wb") as file:
        for (entry, _), result in zip(entries, bar, strict=True):
            if result.output is None:
                unreadable.append(f"{printable(entry['file'])} ({result.error})")
            else:
                readable.append(entry)
                shape = result.output.shape
                file.write(result.output.tobytes())
    left_out = "; ".join(unreadable[:3])
    if not readable:
        raise UserError(
            f"--index={where}: none of the {len(unreadable)} files there can be read: {left_out}"
        )
    if unreadable:
        logger.warning(
            "left out %d of %d files, which cannot be read: %s",
            len(unreadable),
            images.total,
            left_out,
        )
    (directory / "entries.json").write_text(json.dumps({"shape": shape, "entries": readable}))
