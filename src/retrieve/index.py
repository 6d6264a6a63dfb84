"""Feature indexes: features of many images, computed once and kept in the run directory."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..data.image_files import printable
from ..data.images import UnreadableImage, decode, prepare, refuse_lack_of_memory
from ..data.parallel import compute_ahead
from ..errors import UserError, check_choice
from ..filesystem import build_once, read_file, walk_files
from ..inference.classifier import Classifier
from ..runs.checkpoint import checksum
from ..runs.workdir import open_dataset

logger = logging.getLogger(__name__)

FORMAT = 2  # another number builds every index again
AHEAD = 64  # files that are being read
Image = np.ndarray | UnreadableImage
"""Pixels as evaluation sees them, or why there are none."""


class Index(NamedTuple):
    """Images and their features at a layer."""

    entries: list[dict[str, str]]  # each image's "file" and, in a split, its "class"
    features: np.ndarray  # float32 (N, …), a memory map


class _Images(NamedTuple):
    identity: str  # changes when the images change
    total: int
    images: Iterable[tuple[dict[str, str], Image]]  # entries of `Index`, each with its image


def open_index(workdir: Path, classifier: Classifier, source: str, layer: str) -> Index:
    """Opens the index of all images in a directory or a split; builds it on the first call.

    A build shows a progress bar. A later call builds the index again if the network or the images
    have changed. New images replace the old index of the same network and source. Each call logs
    which files are left out.

    Args:
      workdir: the classifier's run directory, which keeps the index.
      classifier: the network.
      source: a directory, or the name of a split of the run's data.
      layer: the layer that computes the features.

    Raises:
      UserError: the directory, split or layer does not exist, or has no readable image.
      CommandError: the system cannot read a file.
    """
    check_choice("--layer", layer, classifier.architecture.layer_names)
    path, size = Path(source), classifier.config.data.size
    images = _directory(path, size) if path.is_dir() else _split(workdir, classifier, source)
    prefix = f"{layer}-{_digest(f'{checksum(classifier.params)} {source}')}"
    directory = workdir / "index" / f"{prefix}-{_digest(f'{FORMAT} {images.identity}')}"
    build_once(directory, lambda target: _build(target, classifier, images, layer, source))
    for outdated in set(directory.parent.glob(f"{prefix}-{'?' * 16}")) - {directory}:
        shutil.rmtree(outdated)
    content = json.loads((directory / "entries.json").read_text())
    entries, left_out = content["entries"], content["left_out"]
    if left_out:
        message = "left out %d of %d files (%s/entries.json lists them): %s"
        some = "; ".join(left_out[:3])
        logger.warning(message, len(left_out), len(entries) + len(left_out), directory, some)
    shape = len(entries), *content["shape"]
    features = np.memmap(directory / "features.float32", np.float32, "r", shape=shape)
    return Index(entries, features)


def _digest(identity: str) -> str:
    return hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]


def _directory(path: Path, size: int) -> _Images:
    files = {file: status for file, status in walk_files(path).items() if status}
    if not files:
        raise UserError(f"--index={path}: has no files; give a directory of images or a split")

    def read(file: str) -> tuple[dict[str, str], Image]:
        try:
            return {"file": file}, decode(prepare(read_file(Path(file)), size))
        except UnreadableImage as error:
            refuse_lack_of_memory(file, error)
            return {"file": file}, error

    return _Images(repr(files), len(files), compute_ahead(read, files, AHEAD))


def _split(workdir: Path, classifier: Classifier, split: str) -> _Images:
    data = open_dataset(workdir, classifier.config.data)
    if split not in data.num_examples:
        splits = " or ".join(data.num_examples)
        raise UserError(f"--index={split}: give a directory or a split ({splits})")
    records, count = data.records(split), data.num_examples[split]

    def images() -> Iterator[tuple[dict[str, str], np.ndarray]]:
        for index, (encoded, label) in enumerate(records.examples(range(count))):
            yield {"file": records.file(index), "class": data.class_names[label]}, decode(encoded)

    return _Images(f"{data.directory.name} {split}", count, images())


def _build(target: Path, classifier: Classifier, images: _Images, layer: str, source: str) -> None:
    bar = tqdm(images.images, "index", images.total, unit=" images", mininterval=1)
    entries, left_out, shape = [], [], ()

    def readable() -> Iterator[np.ndarray]:
        for entry, image in bar:
            if isinstance(image, UnreadableImage):
                left_out.append(f"{printable(entry['file'])} ({image})")
            else:
                entries.append(entry)
                yield image

    with (target / "features.float32").open("wb") as file:
        for result in classifier.file_features(readable(), layer):
            features = np.asarray(result.output)
            shape = features.shape
            file.write(features.tobytes())
    if not entries:
        count, some = len(left_out), "; ".join(left_out[:3])
        raise UserError(f"--index={source}: cannot read any of its {count} files: {some}")
    content = {"shape": shape, "entries": entries, "left_out": left_out}
    (target / "entries.json").write_text(json.dumps(content))
