"""Makes of a source, once, what training reads: small images, their mean, their colors' PCA.

The authors too "down-sampled the images to a fixed resolution of 256x256" beforehand (section 2).
The outcome is an ordinary TFDS data set in ArrayRecord form, which allows random access.
"""

import hashlib
import itertools
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from ..errors import UserError
from ..filesystem import build_once
from . import images
from .dataset import PreparedDataset
from .sources import find_source
from .sources.source import Example, Originals, Split
from .statistics import PixelSums

FORMAT = 2  # raise it when the same source would be prepared into something else than before
EXAMPLES_PER_SHARD = 8192  # of 34 kB each: 280 MB
IN_FLIGHT = 256  # originals, with their pixels: about 100 MB


def prepare_dataset(
    dataset: str,
    size: int,
    root: str | Path,
    *,
    train_split: str = "",
    eval_split: str = "",
    tfds_dir: str = "",
) -> PreparedDataset:
    """Opens the prepared data set; makes it first if it isn't there, or if its source changed.

    Several processes may ask for the same one: the first makes it while the others wait. One that
    is killed leaves nothing that looks finished.

    Args:
      dataset: its name, as for `find_source`, which takes what follows `root` too.
      size: height and width of the prepared images.
      root: the folder that the prepared data sets are in.
      train_split: what to train on; empty for the usual.
      eval_split: what to evaluate on; empty for the usual.
      tfds_dir: where TFDS keeps its data sets; empty for the usual.

    Raises:
      UserError: see `find_source`; also if not one image of a split can be read.
    """
    source = find_source(dataset, train_split=train_split, eval_split=eval_split, tfds_dir=tfds_dir)
    name = re.sub(r"[^a-z0-9]+", "_", source.name.lower()).strip("_") or "images"
    digest = hashlib.sha256(f"{FORMAT} {source.identity}".encode()).hexdigest()[:8]
    directory = Path(root).expanduser() / f"{name}-{size}px-{digest}"
    build_once(directory, lambda folder: _fill(folder, name, dataset, size, source.load()))
    return PreparedDataset(directory)


def _fill(directory: Path, name: str, dataset: str, size: int, originals: Originals) -> None:
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
            print(
                f"{split.name}: left out {len(unreadable)} of {split.num_examples} images, which "
                f"cannot be read (report.json has all): {left_out}",
                file=sys.stderr,
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
