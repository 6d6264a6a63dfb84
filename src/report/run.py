"""The run that a page is about: its network, its images, its numbers."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..data import images
from ..data.dataset import PreparedDataset
from ..data.preparation import prepare_dataset
from ..inference.classifier import MAX_BATCH, Classifier, load
from ..models.architecture import Architecture
from ..runs.workdir import check_data

RANDOM = 0  # seeds all choices of examples


class Examples(NamedTuple):
    """Some of a split."""

    indices: np.ndarray  # int (N,), in the split
    pixels: np.ndarray  # uint8 (N, size, size, 3), prepared
    labels: np.ndarray  # int32 (N,)


class Run:
    """A trained network beside the images that it was trained on and evaluated with.

    Args:
      workdir: of a run, finished or not.
      checkpoint: "newest" or "best".

    Raises:
      UserError: there is no run or no checkpoint.
    """

    def __init__(self, workdir: Path, checkpoint: str = "newest"):
        self.workdir, self.checkpoint = workdir, checkpoint
        self.classifier: Classifier = load(workdir, checkpoint=checkpoint)
        self.config = self.classifier.config
        self.class_names = self.classifier.class_names
        self.architecture = Architecture.from_config(self.config.model)

    @functools.cached_property
    def data(self) -> PreparedDataset:
        """The images, prepared.

        Raises:
          UserError: they are not there, or have changed since.
        """
        data = prepare_dataset(self.config.data)
        check_data(self.workdir, data)
        return data

    @property
    def layers(self) -> list[str]:
        return [*self.architecture.convs, *self.architecture.dense]

    def read(self, split: str, indices: np.ndarray) -> Examples:
        """Some examples, by their indices (N,)."""
        encoded, labels = self.data.records(split).read(indices)
        return Examples(indices, np.stack([images.decode(one) for one in encoded]), labels)

    def batches(self, split: str, indices: np.ndarray, doing: str) -> Iterator[Examples]:
        """The same, a batch at a time, with a progress bar."""
        records = self.data.records(split)
        with (
            ThreadPoolExecutor() as pool,
            tqdm(total=len(indices), desc=doing, unit=" images", mininterval=1) as bar,
        ):
            for start in range(0, len(indices), MAX_BATCH):
                some = indices[start : start + MAX_BATCH]
                encoded, labels = records.read(some)
                yield Examples(some, np.stack(list(pool.map(images.decode, encoded))), labels)
                bar.update(len(some))

    def draw(self, split: str, count: int) -> Examples:
        """Examples drawn at random, of as many classes as possible."""
        order = np.random.default_rng(RANDOM).permutation(self.data.num_examples[split])
        order = order[: 50 * count]
        _, labels = self.data.records(split).read(order)
        _, firsts = np.unique(labels, return_index=True)
        is_first = np.isin(np.arange(len(order)), firsts)
        return self.read(split, np.concatenate([order[is_first], order[~is_first]])[:count])
