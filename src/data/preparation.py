"""Prepares a source once for training: small images, their mean image, the PCA of their colors.

The authors also "down-sampled the images to a fixed resolution of 256x256" (section 2). The result
is an ordinary TFDS data set in ArrayRecord format, which allows random access.
"""

import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from ..errors import UserError
from ..filesystem import build_once
from . import images
from .dataset import PreparedDataset
from .parallel import compute_ahead
from .sources import find_source
from .sources.source import Example, Originals, Split
from .statistics import PixelSums

logger = logging.getLogger(__name__)

FORMAT = 2  # increase it when preparing the same source gives another result than before
EXAMPLES_PER_SHARD = 8192  # of 34 kB each: 280 MB
AHEAD = 256  # images in progress, with their pixels: about 100 MB


def prepare_dataset(section: ConfigDict) -> PreparedDataset:
    """Opens the prepared data set; first prepares it if it is missing or if its source changed.

    If several processes ask for the same data set, the first prepares it while the others wait. A
    killed process leaves no incomplete data set behind.

    Args:
      section: `config.data`. `size` is height and width of the prepared images, `root` the
        directory of the prepared data sets; `find_source` takes the other fields.

    Raises:
      UserError: see `find_source`; also if no image of a split can be read.
    """
    source, size = find_source(section), section.size
    name = re.sub(r"[^a-z0-9]+", "_", source.name.lower()).strip("_") or "images"
    digest = hashlib.sha256(f"{FORMAT} {source.identity}".encode()).hexdigest()[:8]
    directory = Path(section.root).expanduser() / f"{name}-{size}px-{digest}"
    build_once(directory, lambda path: _fill(path, name, section.dataset, size, source.load()))
    return PreparedDataset(directory)


def _fill(directory: Path, name: str, dataset: str, size: int, originals: Originals) -> None:
    import tensorflow_datasets as tfds

    shape = (size, size, 3)
    features = {
        "image": tfds.features.Image(shape=shape, encoding_format=images.encoding(size)),
        "label": tfds.features.ClassLabel(names=originals.class_names),
        "file": tfds.features.Text(),
    }
    version = tfds.core.Version("1.0.0")
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(name, version, str(directory), module_name=__name__),
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
    )
    writer = tfds.core.SequentialWriter(info, EXAMPLES_PER_SHARD, file_format="array_record")
    splits = (originals.train, originals.evaluation)
    writer.initialize_splits([split.name for split in splits])

    report = {}
    for split in splits:
        sums = PixelSums(size)
        unreadable: list[dict[str, str]] = []
        records = _records(split, size, sums, unreadable)
        # The writer rewrites the metadata at each call.
        while batch := list(itertools.islice(records, 512)):
            writer.add_examples({split.name: batch})
        report[split.name] = {"examples": sums.num_images, "unreadable": unreadable}
        if unreadable:
            _report_unreadable(dataset, split, unreadable)
        if split is originals.train:
            np.savez(directory / "statistics.npz", **sums.statistics()._asdict())
    writer.close_all()
    (directory / "report.json").write_text(json.dumps(report, indent=2))


def _records(
    split: Split, size: int, sums: PixelSums, unreadable: list[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    """Yields the prepared images in order; adds to `sums` and to `unreadable`."""

    def prepare(example: Example) -> tuple[Example, bytes, np.ndarray, np.ndarray] | dict[str, str]:
        try:
            encoded = images.prepare(example.image, size)
        except images.UnreadableImage as reason:
            return {"file": example.name, "reason": str(reason)}
        pixels = images.decode(encoded)  # as training reads them
        colors = pixels.reshape(-1, 3).astype(np.float64)
        return example, encoded, pixels, colors.T @ colors

    results = compute_ahead(prepare, split.examples(), AHEAD)
    for result in tqdm(results, split.name, split.num_examples, unit=" images", mininterval=1):
        if isinstance(result, dict):
            unreadable.append(result)
            continue
        example, encoded, pixels, products = result
        sums.add(pixels, products)
        name = os.fsencode(example.name)  # need not be UTF-8
        yield {"image": encoded, "label": example.label, "file": name}


def _report_unreadable(dataset: str, split: Split, unreadable: list[dict[str, str]]) -> None:
    count = split.num_examples
    some = "; ".join(f"{image['file']} ({image['reason']})" for image in unreadable[:3])
    if len(unreadable) == count:
        field = f"config.data.dataset={dataset!r}"
        raise UserError(f"{field}: none of the {count} images of {split.name} can be read: {some}")
    message = "%s: left out %d of %d images, which cannot be read (report.json lists them): %s"
    logger.warning(message, split.name, len(unreadable), count, some)
