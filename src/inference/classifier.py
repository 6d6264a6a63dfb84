"""A trained network, ready to look at images."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data import images as images_
from ..distributed.mesh import DATA_AXIS, make_mesh, replicate, to_devices
from ..errors import UserError
from ..models.architecture import Architecture
from ..runs.checkpoint import Checkpointer
from ..runs.config import read_config
from ..runs.preprocessing import Preprocessing, read_preprocessing
from ..training.state import abstract_state
from .forward import Forward, make_classify, make_features

MAX_BATCH = 64  # images a batch, for each shard of the data


def load(
    workdir: str | Path, *, checkpoint: str = "newest", mesh: Mesh | None = None
) -> "Classifier":
    """The network that was trained in a folder, on whatever devices there are.

    Args:
      workdir: of a run, finished or not.
      checkpoint: "newest", or the "best" on the evaluation split.
      mesh: to lay it on; by default all devices.

    Raises:
      UserError: there is no run or no checkpoint in the folder.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    preprocessing = read_preprocessing(workdir)
    mesh = mesh or make_mesh(config.model.towers, jax.device_count())
    like = abstract_state(config, len(preprocessing.class_names), mesh).params
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpoints:
        params, step = checkpoints.restore_params(like, checkpoint)
    return Classifier(config, preprocessing, params, mesh, step)


class FileResult(NamedTuple):
    """What a network makes of a file."""

    file: images_.RawImage
    output: np.ndarray | None  # probabilities or features; None where the file can't be read
    error: str = ""  # and why not


class Classifier:
    """A trained network; call it with images.

    Attributes:
      class_names: what the classes are called, in the order of the probabilities.
      config: the recipe that it was trained with.
      params: {layer: {"kernel": (towers, …), "bias": (towers, out)}}, on the mesh.
      statistics: of the data that it was trained on.
      step: so many steps it was trained for.
    """

    def __init__(
        self,
        config: ConfigDict,
        preprocessing: Preprocessing,
        params: Any,
        mesh: Mesh,
        step: int,
    ):
        self.config = config
        self.class_names = preprocessing.class_names
        self.params = params
        self.step = step
        self.statistics = replicate(mesh, preprocessing.statistics)
        self._mesh = mesh
        parts = (config, len(self.class_names), mesh)
        self.classify = functools.cache(functools.partial(make_classify, *parts))
        self._featurize = functools.cache(functools.partial(make_features, *parts))

    def __call__(self, images: np.ndarray, views: int | None = None) -> np.ndarray:
        """The probabilities of the classes: float32 (N, classes).

        Args:
          images: uint8 (N, H, W, 3), RGB. Those that are not of the prepared size are prepared like
            the training images: short side to size, center kept.
          views: 1, 9 or 10 of each image; by default as in the recipe's final evaluation.

        Raises:
          UserError: the images are of another type or shape.
        """
        return np.exp(self._of_images(self.classify(views or self.config.views), images))

    def predict_files(
        self, files: Iterable[images_.RawImage], views: int | None = None
    ) -> Iterator[FileResult]:
        """The probabilities (classes,) of one image file after the other, in their order.

        While a batch is computed, the next is read. A file that can't be read has an `error` and
        does not stop the others.

        Args:
          files: paths, or what else `images.RawImage` lists; as many as there are, also endlessly.
          views: as for images.
        """
        for result in self._of_files(self.classify(views or self.config.views), files):
            log_p = result.output
            yield result if log_p is None else result._replace(output=np.exp(log_p))

    def features(self, images: np.ndarray, layer: str = "fc7") -> np.ndarray:
        """What a layer makes of the images' centers: float32 (N, units) or (N, H, W, maps).

        Args:
          images: as for the probabilities.
          layer: conv1 … conv5, fc6 … fc8.

        Raises:
          UserError: there is no such layer, or as for the probabilities.
        """
        return self._of_images(self._features_of(layer), images)

    def file_features(
        self, files: Iterable[images_.RawImage], layer: str = "fc7"
    ) -> Iterator[FileResult]:
        """What a layer makes of one image file after the other, as `predict_files` does it.

        Raises:
          UserError: there is no such layer.
        """
        return self._of_files(self._features_of(layer), files)

    def _features_of(self, layer: str) -> Forward:
        layers = [*self.config.model.convs, *self.config.model.dense]
        if layer not in layers:
            raise UserError(f"layer: {layer!r} is none of {', '.join(layers)}")
        return self._featurize(layer)

    @functools.cached_property
    def at_once(self) -> int:
        """How many images a batch has at most: as many as half of the memory is enough for."""
        shards = self._mesh.shape[DATA_AXIS]
        own = self._mesh.local_devices
        limits = [device.memory_stats() for device in own]
        free = min(
            limit["bytes_limit"] - limit["bytes_in_use"]
            if limit
            else psutil.virtual_memory().available // len(own)
            for limit in limits
        )
        architecture = Architecture.from_fields(self.config.model.to_dict())
        fit = max(1, free // 2 // _bytes_per_image(architecture, self.config.data.size))
        return shards * min(MAX_BATCH, 1 << (fit.bit_length() - 1))

    def _of_images(self, forward: Forward, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] != 3 or not len(images):
            raise UserError(
                f"images: {images.dtype} {images.shape}, where uint8 (N, H, W, 3) is needed"
            )
        rows = self._rows(len(images))
        outputs = []
        for start in range(0, len(images), rows):
            batch = np.stack([self._read(image) for image in images[start : start + rows]])
            outputs.append(np.asarray(self._start(forward, batch, rows)))
        return np.concatenate(outputs)[: len(images)]

    def _of_files(
        self, forward: Forward, files: Iterable[images_.RawImage]
    ) -> Iterator[FileResult]:
        remaining = iter(files)
        with ThreadPoolExecutor() as pool:

            def start_reading() -> Reading:
                some = itertools.islice(remaining, self.at_once)
                return [(file, pool.submit(self._read, file)) for file in some]

            reading, rows = start_reading(), 0
            computing: Reading = []
            output = None
            while reading:
                rows = rows or self._rows(len(reading))
                ahead = start_reading()
                pixels = [f.result() for _, f in reading if f.exception() is None]
                before = jax.block_until_ready(output)  # one at a time: see `evaluate`
                output = self._start(forward, np.stack(pixels), rows) if pixels else None
                yield from _finish(computing, before)
                reading, computing = ahead, reading
            yield from _finish(computing, output)

    def _read(self, original: images_.RawImage) -> np.ndarray:
        """An image as evaluation sees it, to the bit: uint8 (size, size, 3)."""
        size = self.config.data.size
        if isinstance(original, np.ndarray) and original.shape == (size, size, 3):
            return original  # is prepared already
        return images_.decode(images_.prepare(original, size))

    def _rows(self, count: int) -> int:
        """The size of batches for so many images: one of few, so that few are compiled."""
        shards = self._mesh.shape[DATA_AXIS]
        power = 1 << max(0, count - 1).bit_length()
        return min(self.at_once, -(-power // shards) * shards)

    def _start(self, forward: Forward, images: np.ndarray, rows: int) -> jax.Array:
        """Has a batch computed, (rows, …), without waiting for it."""
        filling = [(0, rows - len(images)), (0, 0), (0, 0), (0, 0)]
        on_devices = to_devices(self._mesh, {"image": np.pad(images, filling)}, rows)
        return forward(self.params, on_devices["image"], self.statistics)


Reading = list[tuple[images_.RawImage, Future[np.ndarray]]]


def _finish(reading: Reading, output: jax.Array | None) -> Iterator[FileResult]:
    outputs = iter([] if output is None else np.asarray(output))
    for file, future in reading:
        if error := future.exception():
            if not isinstance(error, images_.UnreadableImage):
                raise error
            yield FileResult(file, None, str(error))
        else:
            yield FileResult(file, next(outputs))


def _bytes_per_image(architecture: Architecture, size: int) -> int:
    """About what a forward pass needs: four times each layer's maps before pooling."""
    sides = architecture.spatial_sizes()
    maps = sum(spec.maps * sides[name][0] ** 2 for name, spec in architecture.convs.items())
    return 4 * 4 * maps + 3 * size**2
