"""A network of few maps, its configuration and data, and meshes of some of the devices."""

import dataclasses
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from configs.alexnet import paper
from src.data.statistics import Statistics
from src.distributed.mesh import DATA_AXIS
from src.models.alexnet import AlexNet
from src.models.architecture import Architecture
from src.models.layers import TOWER_AXIS
from src.models.presets import PAPER

MAPS = {"conv1": 12, "conv2": 16, "conv3": 16, "conv4": 24, "conv5": 8}
UNITS = {"fc6": 32, "fc7": 24, "fc8": 0}
NUM_CLASSES = 7  # which two towers don't divide
BATCH_SIZE = 8


def shrunk(preset: Architecture, **changes) -> Architecture:
    """A preset with few maps and units; at 99 pixels, four places are left for fc6."""
    small = {
        "convs": {name: replace(spec, maps=MAPS[name]) for name, spec in preset.convs.items()},
        "dense": {name: replace(spec, units=UNITS[name]) for name, spec in preset.dense.items()},
        "image_size": 99,
    }
    return replace(preset, **{**small, **changes})


def network(architecture: Architecture, num_classes: int = NUM_CLASSES, **options) -> AlexNet:
    """With random biases, and weights that keep the size of the signal."""

    def make() -> AlexNet:
        return AlexNet(num_classes, architecture, **options, rngs=nnx.Rngs(0))

    random = np.random.default_rng(2)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        is_bias = len(leaf.shape) == 2
        sigma = 0.3 if is_bias else math.sqrt(2 / math.prod(leaf.shape[1:-1]))
        return jnp.asarray(sigma * random.standard_normal(leaf.shape, np.float32), leaf.dtype)

    graph, state = nnx.split(nnx.eval_shape(make))
    return nnx.merge(graph, jax.tree.map(draw, state))


@nnx.jit
def activations(model: AlexNet, images: jax.Array, dropout_keys: jax.Array | None = None):
    return model.activations(images, dropout_keys)


@nnx.jit
def logits(model: AlexNet, images: jax.Array, dropout_keys: jax.Array | None = None):
    return model.logits(images, dropout_keys)


def params_of(model: AlexNet) -> dict[str, dict[str, np.ndarray]]:
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))


def images_for(architecture: Architecture, count: int = 2) -> np.ndarray:
    shape = (count, architecture.image_size, architecture.image_size, 3)
    return np.random.default_rng(3).uniform(-128, 128, shape).astype(np.float32)


def mesh(data: int, model: int) -> Mesh:
    devices = np.array(jax.devices()[: data * model]).reshape(data, model)
    return Mesh(devices, (DATA_AXIS, TOWER_AXIS), axis_types=(AxisType.Auto,) * 2)


def config(**model_changes) -> ConfigDict:
    """The paper's recipe, for crops of 67 pixels out of 76."""
    fields = paper("none")
    fields.batch_size = BATCH_SIZE
    fields.data.size = 76
    small = {"image_size": 67, "init": "he", "input_scale": 1 / 64, **model_changes}
    fields.model = ConfigDict(dataclasses.asdict(shrunk(PAPER, **small)))
    return fields


def statistics(size: int = 76) -> Statistics:
    mean = np.random.default_rng(4).uniform(50, 200, (size, size, 3)).astype(np.float32)
    directions, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    deviations = np.array([122, 37, 20], np.float32)
    return Statistics(mean, deviations, directions.astype(np.float32))


def batch(fields: ConfigDict, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng([6, seed])
    count, crop = fields.batch_size, fields.model.image_size
    slack = fields.data.size - crop
    return {
        "image": random.integers(0, 256, (count, crop, crop, 3), dtype=np.uint8),
        "label": random.integers(0, NUM_CLASSES, count, dtype=np.int32),
        "offset": random.integers(0, slack, (count, 2), dtype=np.int32, endpoint=True),
        "flip": random.random(count) < 0.5,
    }
