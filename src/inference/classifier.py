"""A trained network, ready to look at images."""

import functools
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data import images as images_
from ..data.parallel import compute_ahead
from ..distributed.mesh import DATA_AXIS, make_mesh, replicate, shard_abstract, to_devices
from ..errors import UserError, check_choice
from ..models.architecture import Architecture
from ..models.factory import abstract_params
from ..runs.checkpoint import Checkpointer
from ..runs.config import read_config
from ..runs.preprocessing import Preprocessing, read_preprocessing
from ..runs.provenance import read_provenance
from .forward import Forward, Network, make_classify, make_features

logger = logging.getLogger(__name__)

MAX_BATCH = 64  # images a batch, for each shard of the data


def load(
    workdir: str | Path, *, checkpoint: str = "newest", mesh: Mesh | None = None
) -> "Classifier":
    """Loads the network of a run, finished or not, on whatever devices there are.

    Args:
      checkpoint: "newest", or the "best" on the evaluation split.
      mesh: to lay the parameters out on; by default all devices.

    Raises:
      UserError: there is no run or no checkpoint in the directory.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    if layers := (read_provenance(workdir) or {}).get("random"):
        message = "workdir %s: %s are random until trained, with --config.init_from"
        logger.warning(message, workdir, layers)
    preprocessing = read_preprocessing(workdir)
    mesh = mesh or make_mesh(None, towers=config.model.towers)
    architecture = Architecture.from_config(config.model)
    like = shard_abstract(mesh, abstract_params(architecture, len(preprocessing.class_names)))
    with Checkpointer(workdir) as checkpoints:
        params, step = checkpoints.restore_params(like, checkpoint)
    return Classifier(config, preprocessing, params, mesh, step)


Files = str | os.PathLike[str] | Iterable[images_.RawImage]
Reading = tuple[images_.RawImage, np.ndarray | images_.UnreadableImage]


class FileResult(NamedTuple):
    """The network's output for an image file."""

    file: images_.RawImage
    output: np.ndarray | None  # probabilities or features; None where the file cannot be read
    error: str = ""  # why it cannot be read


class Classifier:
    """A trained network; call it with images.

    Attributes:
      class_names: in the order of the probabilities.
      config: the recipe that it was trained with.
      network: what its forward passes depend on besides the parameters.
      params: {layer: {"kernel": (towers, …), "bias": (towers, out)}}, on the mesh.
      statistics: of the data that it was trained on.
      step: the number of steps that it was trained for.
    """

    def __init__(
        self, config: ConfigDict, preprocessing: Preprocessing, params: Any, mesh: Mesh, step: int
    ):
        self.config = config
        self.class_names = preprocessing.class_names
        self.params = params
        self.step = step
        self.statistics = replicate(mesh, preprocessing.statistics)
        self._mesh = mesh
        self.network = Network.from_config(config, len(self.class_names))
        self.architecture = self.network.architecture
        self.classify = functools.cache(functools.partial(make_classify, self.network, mesh))
        self._features = functools.cache(functools.partial(make_features, self.network, mesh))

    def __call__(self, images: np.ndarray, views: int | None = None) -> np.ndarray:
        """The probabilities of the classes: float32 (N, classes).

        Args:
          images: uint8 (N, H, W, 3), RGB. Images that do not have the prepared size are prepared
            like the training images: short side scaled to it, center kept.
          views: 1, 9 or 10 of each image; by default as in the recipe's final evaluation.

        Raises:
          UserError: the images are of another type or shape.
        """
        return np.exp(self._run_images(self.classify(views or self.config.views), images))

    def predict_files(self, files: Files, views: int | None = None) -> Iterator[FileResult]:
        """The probabilities (classes,) of one image file after the other, or of the only one.

        The next batch is read while the current one is computed. A file that cannot be read has an
        `error` and does not stop the others. The iterable may be endless.
        """
        for result in self._run_files(self.classify(views or self.config.views), files):
            log_p = result.output
            yield result if log_p is None else result._replace(output=np.exp(log_p))

    def features(self, images: np.ndarray, layer: str = "fc7") -> np.ndarray:
        """A layer's output for the images' centers: float32 (N, units) or (N, H, W, maps).

        Raises:
          UserError: there is no such layer, or as for the probabilities.
        """
        return self._run_images(self._forward_to(layer), images)

    def file_features(self, files: Files, layer: str = "fc7") -> Iterator[FileResult]:
        """A layer's output for one file after the other; raises UserError as `features`."""
        return self._run_files(self._forward_to(layer), files)

    def _forward_to(self, layer: str) -> Forward:
        check_choice("layer", layer, self.architecture.layer_names)
        return self._features(layer)

    @functools.cached_property
    def max_batch(self) -> int:
        """The largest batch, in images: its forward pass fits in half of the free memory."""
        devices = self._mesh.local_devices
        free = min(
            stats["bytes_limit"] - stats["bytes_in_use"]
            if (stats := device.memory_stats())
            else psutil.virtual_memory().available // len(devices)
            for device in devices
        )
        fit = max(1, free // 2 // _bytes_per_image(self.architecture, self.config.data.size))
        return self._mesh.shape[DATA_AXIS] * min(MAX_BATCH, 1 << (fit.bit_length() - 1))

    def _run_images(self, forward: Forward, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] != 3 or not len(images):
            raise UserError(f"images: {images.dtype} {images.shape} is not uint8 (N ≥ 1, H, W, 3)")
        outputs = []
        for result in self._run_files(forward, images):
            if result.output is None:
                raise images_.UnreadableImage(result.error)
            outputs.append(result.output)
        return np.stack(outputs)

    def _run_files(self, forward: Forward, files: Files) -> Iterator[FileResult]:
        if isinstance(files, str | os.PathLike):
            files = [files]
        reading = compute_ahead(self._try_to_read, files, self.max_batch)
        rows, output = 0, None
        pending: list[Reading] = []  # whose output is being computed
        while batch := list(itertools.islice(reading, self.max_batch)):
            rows = rows or self._rows(len(batch))
            pixels = [result for _, result in batch if isinstance(result, np.ndarray)]
            finished = jax.block_until_ready(output)  # one at a time: see `evaluate`
            output = self._start(forward, np.stack(pixels), rows) if pixels else None
            yield from _finish(pending, finished)
            pending = batch
        yield from _finish(pending, output)

    def _try_to_read(self, file: images_.RawImage) -> Reading:
        """An image as evaluation sees it, to the bit: uint8 (size, size, 3); or the error."""
        size = self.config.data.size
        if isinstance(file, np.ndarray) and file.shape == (size, size, 3):
            return file, file  # is prepared already
        try:
            return file, images_.decode(images_.prepare(file, size))
        except images_.UnreadableImage as error:
            return file, error

    def _rows(self, count: int) -> int:
        """The batch size for `count` images: one of few sizes, so that few are compiled."""
        shards = self._mesh.shape[DATA_AXIS]
        power = 1 << max(0, count - 1).bit_length()
        return min(self.max_batch, -(-power // shards) * shards)

    def _start(self, forward: Forward, images: np.ndarray, rows: int) -> jax.Array:
        """Starts to compute a batch, (rows, …), without waiting for it."""
        padding = [(0, rows - len(images)), (0, 0), (0, 0), (0, 0)]
        on_devices = to_devices(self._mesh, {"image": np.pad(images, padding)}, rows)
        return forward(self.params, on_devices["image"], self.statistics)


def _finish(batch: list[Reading], output: jax.Array | None) -> Iterator[FileResult]:
    outputs = iter([] if output is None else np.asarray(output))
    for file, result in batch:
        if isinstance(result, images_.UnreadableImage):
            yield FileResult(file, None, str(result))
        else:
            yield FileResult(file, next(outputs))


def _bytes_per_image(architecture: Architecture, size: int) -> int:
    """About the memory of a forward pass: four times each layer's maps before pooling."""
    sizes = architecture.spatial_sizes()
    maps = sum(spec.maps * sizes[name][0] ** 2 for name, spec in architecture.convs.items())
    return 4 * 4 * maps + 3 * size**2
