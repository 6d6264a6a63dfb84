"""The run that the page describes: its network and its images."""

import functools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ..data import images
from ..data.dataset import PreparedDataset
from ..distributed.mesh import make_mesh
from ..errors import UserError
from ..inference.classifier import MAX_BATCH, load
from ..runs.config import read_config
from ..runs.provenance import read_provenance
from ..runs.workdir import open_dataset
from ..training.initialization import initial_state
from .images import photo

logger = logging.getLogger(__name__)

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
        self.mesh = make_mesh(None, towers=read_config(workdir).model.towers)
        self.classifier = load(workdir, checkpoint=checkpoint, mesh=self.mesh)
        self.config = self.classifier.config
        self.class_names = self.classifier.class_names
        self.is_imported = read_provenance(workdir) is not None
        self.architecture = self.classifier.architecture

    def kernels(self, layer: str) -> np.ndarray:
        """The kernels of a layer, (towers, …)."""
        return np.asarray(self.classifier.params[layer]["kernel"])

    def initial_kernels(self, layer: str) -> np.ndarray | None:
        """Those before the first step; None if they are unknown."""
        if self.is_imported:
            return None
        try:
            state = initial_state(self.config, self.class_names, self.mesh)
        except UserError as error:
            logger.warning("%s: its initial weights are unknown: %s", self.workdir, error)
            return None
        return np.asarray(state.params[layer]["kernel"])

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
