"""Feature indexes: features of many images, computed once and kept in the run directory."""

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
from ..errors import UserError
from ..filesystem import build_once
from ..inference.classifier import Classifier
from ..runs.checkpoint import checksum
from ..runs.workdir import open_dataset

logger = logging.getLogger(__name__)


class Index(NamedTuple):
    """Images and their features at a layer."""

    entries: list[dict[str, str]]  # each image's "file" and, in a split, its "class"
    features: np.ndarray  # float32 (N, …), a memory map


class _Images(NamedTuple):
    identity: str  # changes when the images change
    total: int
    images: Iterable[tuple[dict[str, str], RawImage]]  # entries of `Index`, each with its image


def open_index(workdir: Path, classifier: Classifier, source: str, layer: str) -> Index:
    """Opens the index of all images in a directory or a split; builds it on the first call.

    A build shows a progress bar. A later call builds the index again if the network or the images
    have changed. New images replace the old index of the same network and source.

    Args:
      workdir: the classifier's run directory, which keeps the index.
      classifier: the network.
      source: a directory, or the name of a split of the run's data.
      layer: the layer that computes the features.

    Raises:
      UserError: the directory, split or layer does not exist, or has no readable image.
    """
    path = Path(source)
    images = _directory(path) if path.is_dir() else _split(workdir, classifier, source)
    prefix = f"{layer}-{_digest(f'{checksum(classifier.params)} {source}')}"
    directory = workdir / "index" / f"{prefix}-{_digest(images.identity)}"
    try:
        build_once(directory, lambda target: _build(target, classifier, images, layer, source))
        for outdated in set(directory.parent.glob(f"{prefix}-{'?' * 16}")) - {directory}:
            shutil.rmtree(outdated)
    except OSError as error:
        raise UserError(f"workdir {workdir}: cannot write the index: {error}") from None
    content = json.loads((directory / "entries.json").read_text())
    shape = len(content["entries"]), *content["shape"]
    features = np.memmap(directory / "features.float32", np.float32, "r", shape=shape)
    return Index(content["entries"], features)


def _digest(identity: str) -> str:
    return hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]


def _directory(path: Path) -> _Images:
    images = find_images([str(path)])
    stats = [(image.name, os.stat(image.name)) for image in images]
    identity = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return _Images(identity, len(images), [({"file": i.name}, i.original) for i in images])


def _split(workdir: Path, classifier: Classifier, split: str) -> _Images:
    data = open_dataset(workdir, classifier.config.data)
    if split not in data.num_examples:
        splits = " or ".join(data.num_examples)
        raise UserError(f"--index={split}: give a directory or a split ({splits})")
    records, count = data.records(split), data.num_examples[split]

    def images() -> Iterator[tuple[dict[str, str], np.ndarray]]:
        for index in range(count):
            (encoded,), (label,) = records.read(np.array([index]))
            yield {"file": records.file(index), "class": data.class_names[label]}, decode(encoded)

    return _Images(f"{data.directory.name} {split}", count, images())


def _build(target: Path, classifier: Classifier, images: _Images, layer: str, source: str) -> None:
    examples, inputs = itertools.tee(images.images)
    results = classifier.file_features((image for _, image in inputs), layer)
    bar = tqdm(results, "index", images.total, unit=" images", mininterval=1)
    readable, unreadable, shape = [], [], ()
    with (target / "features.float32").open("wb") as file:
        for (entry, _), result in zip(examples, bar, strict=True):
            if result.output is None:
                unreadable.append(f"{printable(entry['file'])} ({result.error})")
            else:
                readable.append(entry)
                shape = result.output.shape
                file.write(result.output.tobytes())
    count, listed = len(unreadable), "; ".join(unreadable[:3])
    if not readable:
        raise UserError(f"--index={source}: cannot read any of its {count} files: {listed}")
    if unreadable:
        logger.warning("left out %d of %d files (unreadable): %s", count, images.total, listed)
    (target / "entries.json").write_text(json.dumps({"shape": shape, "entries": readable}))
