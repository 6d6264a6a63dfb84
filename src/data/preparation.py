"""Prepares a source once for training: small images, their mean image, the PCA of their colors.

The authors too "down-sampled the images to a fixed resolution of 256x256" beforehand (section 2).
The result is an ordinary TFDS data set in ArrayRecord form, which allows random access.
"""

import hashlib
import itertools
import json
import logging
import os
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from ..errors import UserError
from ..filesystem import build_once
from . import images
from .dataset import PreparedDataset
from .sources import find_source
from .sources.source import Example, Originals, Split
from .statistics import PixelSums

logger = logging.getLogger(__name__)

FORMAT = 2  # raise it when the same source would be prepared into something else than before
EXAMPLES_PER_SHARD = 8192  # of 34 kB each: 280 MB
IN_FLIGHT = 256  # originals, with their pixels: about 100 MB


def prepare_dataset(section: ConfigDict) -> PreparedDataset:
    """Opens the prepared data set; makes it first if it does not exist, or if its source changed.

    Of several processes that ask for the same data set, the first makes it while the others wait. A
    killed process leaves nothing that looks finished.

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

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(size, size, 3), encoding_format=images.encoding(size)
            ),
            "label": tfds.features.ClassLabel(names=originals.class_names),
            "file": tfds.features.Text(),
        }
    )
    identity = tfds.core.DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=str(directory), module_name=__name__
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features, supervised_keys=("image", "label")
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
        left_out = "; ".join(f"{u['file']} ({u['reason']})" for u in unreadable[:3])
        if len(unreadable) == split.num_examples:
            raise UserError(
                f"config.data.dataset={dataset!r}: none of the {split.num_examples} images of "
                f"{split.name} can be read: {left_out}; give images"
            )
        if unreadable:
            logger.warning(
                "%s: left out %d of %d images, which cannot be read (report.json has all): %s",
                split.name,
                len(unreadable),
                split.num_examples,
                left_out,
            )
        report[split.name] = {"examples": sums.num_images, "unreadable": unreadable}
        if split is originals.train:
            np.savez(directory / "statistics.npz", **sums.statistics()._asdict())
    writer.close_all()
    (directory / "report.json").write_text(json.dumps(report, indent=2))


def _records(
    split: Split, size: int, sums: PixelSums, unreadable: list[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    """Prepares the images in parallel and yields them in their order; adds up what is read."""

    def work(example: Example) -> tuple[bytes, np.ndarray, np.ndarray]:
        encoded = images.prepare(example.image, size)
        pixels = images.decode(encoded)  # as training will see them
        colors = pixels.reshape(-1, 3).astype(np.float64)
        return encoded, pixels, colors.T @ colors

    def in_order() -> Iterator[tuple[Example, Future]]:
        ahead: deque[tuple[Example, Future]] = deque()
        for example in split.examples():
            ahead.append((example, pool.submit(work, example)))
            if len(ahead) == IN_FLIGHT:
                yield ahead.popleft()
        yield from ahead

    # Pillow, OpenCV and simplejpeg release the GIL, so threads do as well as processes would.
    with ThreadPoolExecutor() as pool:
        bar = tqdm(in_order(), split.name, split.num_examples, unit=" images", mininterval=1)
        for example, future in bar:
            try:
                encoded, pixels, products = future.result()
            except images.UnreadableImage as reason:
                unreadable.append({"file": example.name, "reason": str(reason)})
                continue
            sums.add(pixels, products)
            name = os.fsencode(example.name)  # which need not be UTF-8
            yield {"image": encoded, "label": example.label, "file": name}
