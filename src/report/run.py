"""The run that the page describes: its network and its images."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ..data import images
from ..data.dataset import PreparedDataset
from ..inference.classifier import MAX_BATCH, load
from ..runs.workdir import open_dataset
from .images import photo

SEED = 0  # of every random choice of examples


class Examples(NamedTuple):
    """Prepared images of one split."""

    pixels: np.ndarray  # uint8 (N, size, size, 3)
    labels: np.ndarray  # int32 (N,)


class Run:
    """A trained network and the images that it was trained and evaluated on.

    Args:
      workdir: the run directory; the run may be unfinished.
      checkpoint: "newest" or "best".

    Raises:
      UserError: there is no run or no checkpoint.
    """

    def __init__(self, workdir: Path, checkpoint: str = "newest"):
        self.workdir, self.checkpoint = workdir, checkpoint
        self.classifier = load(workdir, checkpoint=checkpoint)
        self.config = self.classifier.config
        self.class_names = self.classifier.class_names
        self.architecture = self.classifier.architecture

    @functools.cached_property
    def data(self) -> PreparedDataset:
        """The prepared images; raises UserError as `open_dataset` does."""
        return open_dataset(self.workdir, self.config.data)

    def read(self, split: str, indices: np.ndarray) -> Examples:
        """Reads the examples at `indices`, (N,)."""
        encoded, labels = self.data.records(split).read(indices)
        with ThreadPoolExecutor() as pool:
            return Examples(np.stack(list(pool.map(images.decode, encoded))), labels)

    def batches(self, split: str, indices: np.ndarray, label: str) -> Iterator[Examples]:
        """Reads the examples at `indices`, (N,), in batches, with a progress bar."""
        with tqdm(total=len(indices), desc=label, unit=" images", mininterval=1) as bar:
            for start in range(0, len(indices), MAX_BATCH):
                batch = indices[start : start + MAX_BATCH]
                yield self.read(split, batch)
                bar.update(len(batch))

    def sample(self, split: str, count: int) -> Examples:
        """Draws examples at random, of as many classes as possible."""
        order = np.random.default_rng(SEED).permutation(self.data.num_examples[split])
        order = order[: 50 * count]
        _, labels = self.data.records(split).read(order)
        firsts = np.sort(np.unique(labels, return_index=True)[1])  # of each class
        return self.read(split, np.append(order[firsts], np.delete(order, firsts))[:count])

    def photos(self, examples: Examples, **values: Any) -> list[dict[str, Any]]:
        """A dictionary per example: `image`, `label`, and the item of each further value."""
        columns = {
            "image": [photo(pixels) for pixels in examples.pixels],
            "label": [self.class_names[label] for label in examples.labels],
            **values,
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
