"""A trained network, ready to look at images."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from src import workdir as workdirs
from src.checkpoint import Checkpoints
from src.data import images as images_
from src.errors import UserError
from src.inference import make_classify, make_features
from src.mesh import DATA_AXIS, make_mesh, replicate, to_devices
from src.step import abstract_state

MOST_AT_ONCE = 64  # images a batch


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
    config = workdirs.read_config(workdir)
    preprocessing = workdirs.read_preprocessing(workdir)
    mesh = mesh or make_mesh(config.model.towers, jax.device_count())
    like = abstract_state(config, len(preprocessing.class_names), mesh).params
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        params = checkpoints.restore_params(like, checkpoint)
    return Classifier(config, preprocessing, params, mesh)


class Classifier:
    """A trained network; call it with images.

    Attributes:
      class_names: what the classes are called, in the order of the probabilities.
      config: the recipe that it was trained with.
    """

    def __init__(
        self,
        config: ConfigDict,
        preprocessing: workdirs.Preprocessing,
        params: Any,
        mesh: Mesh,
    ):
        self.config = config
        self.class_names = preprocessing.class_names
        self.params = params
        self.statistics = replicate(mesh, preprocessing.statistics)
        self._mesh = mesh
        parts = (config, len(self.class_names), mesh)
        self.classify = functools.cache(functools.partial(make_classify, *parts))
        self._featurise = functools.cache(functools.partial(make_features, *parts))

    def __call__(self, images: np.ndarray, views: int | None = None) -> np.ndarray:
        """The probabilities of the classes: float32 (N, classes).

        Args:
          images: uint8 (N, H, W, 3), RGB. Those that are not of the prepared size are prepared like
            the training images: short side to size, centre kept.
          views: 1 or 10 of each image; by default as in the recipe's final evaluation.

        Raises:
          UserError: the images are of another type or shape.
        """
        return np.exp(self._map(self.classify(views or self.config.views), images))

    def features(self, images: np.ndarray, layer: str = "fc7") -> np.ndarray:
        """What a layer makes of the images' centres: float32 (N, units) or (N, H, W, maps).

        Args:
          images: as for the probabilities.
          layer: conv1 … conv5, fc6 … fc8.

        Raises:
          UserError: there is no such layer.
        """
        layers = [*self.config.model.convs, *self.config.model.dense]
        if layer not in layers:
            raise UserError(f"layer: {layer!r} is none of {', '.join(layers)}")
        features = self._map(self._featurise(layer), images)
        return features[:, : len(self.class_names)] if layer == layers[-1] else features

    def _map(self, forward: Any, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] != 3 or not len(images):
            raise UserError(
                f"images: {images.dtype} {images.shape}, where uint8 (N, H, W, 3) is needed"
            )
        size, shards = self.config.data.size, self._mesh.shape[DATA_AXIS]
        if images.shape[1:3] != (size, size):
            images = np.stack([images_.decode(images_.prepare(i, size)) for i in images])
        # Few sizes of batches, and so few compilations.
        at_once = min(MOST_AT_ONCE, 1 << (len(images) - 1).bit_length())
        at_once = -(-at_once // shards) * shards
        outputs = []
        for start in range(0, len(images), at_once):
            batch = images[start : start + at_once]
            filling = [(0, at_once - len(batch)), (0, 0), (0, 0), (0, 0)]
            on_devices = to_devices(self._mesh, {"image": np.pad(batch, filling)}, at_once)
            output = forward(self.params, on_devices["image"], self.statistics)
            outputs.append(np.asarray(output)[: len(batch)])
        return np.concatenate(outputs)
