import dataclasses
import functools
import itertools
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from src.distributed.mesh import replicate, to_devices
from src.inference.forward import Network, make_classify, make_features
from src.models.alexnet import AlexNet
from src.models.architecture import Architecture
from src.models.presets import PRESETS
from src.training.state import abstract_state
from tests.support import miniature
from tests.support.miniature import NUM_CLASSES

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 76, 76, 3), dtype=np.uint8)
CROP = 67
MARGIN = 9
CENTER = (4, 4)
VIEWS = {
    1: [(CENTER, False)],
    10: [
        (corner, flip)
        for flip in (False, True)
        for corner in ((0, 0), (0, MARGIN), CENTER, (MARGIN, 0), (MARGIN, MARGIN))
    ],
}


def recipe(form: str = "aligned") -> ConfigDict:
    fields = miniature.config(dropout_scaling="training")  # which leaves logits large at test
    fields.augment.mean = form
    return fields


@functools.cache
def model() -> AlexNet:
    return miniature.network(Architecture.from_config(recipe().model))


def call(make: Any, shape: tuple[int, int], fields: ConfigDict, **options: Any) -> np.ndarray:
    return compute(make, shape, fields, model(), IMAGES, **options)


def compute(
    make: Any,
    shape: tuple[int, int],
    fields: ConfigDict,
    network: AlexNet,
    images: np.ndarray,
    **options: Any,
) -> np.ndarray:
    mesh = miniature.mesh(*shape)
    like = abstract_state(fields, NUM_CLASSES, mesh).params
    params = jax.tree.map(
        lambda leaf, to: jax.device_put(leaf, to.sharding), miniature.params_of(network), like
    )
    batch = to_devices(mesh, {"image": images}, len(images))["image"]
    forward = make(Network.from_config(fields, NUM_CLASSES), mesh, **options)
    statistics = replicate(mesh, miniature.statistics(fields.data.size))
    return np.asarray(forward(params, batch, statistics))


def by_hand(views: int, form: str) -> list[np.ndarray]:
    """The views of all images, each minus the mean image's part under it, or minus its center."""
    mean = miniature.statistics().mean
    crops = []
    for (row, column), flip in VIEWS[views]:
        part = IMAGES[:, row : row + CROP, column : column + CROP].astype(np.float32)
        row, column = (row, column) if form == "aligned" else CENTER
        mean_part = mean[row : row + CROP, column : column + CROP]
        if flip:
            part = part[:, :, ::-1]
            mean_part = mean_part[:, ::-1] if form == "aligned" else mean_part
        crops.append(part - mean_part)
    return crops


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@functools.cache
def logits_by_hand(views: int, form: str) -> np.ndarray:
    forward = nnx.jit(model())
    return np.stack([np.asarray(forward(crops)) for crops in by_hand(views, form)])


@pytest.mark.parametrize(
    ("views", "shape", "form"),
    [
        (1, (1, 1), "aligned"),
        (1, (2, 2), "aligned"),
        (10, (1, 1), "center"),
        (10, (2, 2), "aligned"),
        (10, (4, 1), "aligned"),
    ],
)
def test_probabilities_of_the_views_are_averaged(views, shape, form):
    log_p = call(make_classify, shape, recipe(form), views=views)
    assert log_p.shape == (len(IMAGES), NUM_CLASSES)
    assert log_p.dtype == np.float32
    logits = logits_by_hand(views, form)
    expected = np.mean([softmax(view) for view in logits], axis=0)
    np.testing.assert_allclose(np.exp(log_p), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-5)


def test_examples_distinguish_averaged_probabilities_from_averaged_logits():
    logits = logits_by_hand(10, "aligned")
    averages = np.mean([softmax(view) for view in logits], axis=0)
    assert np.abs(averages - softmax(logits.mean(axis=0))).max() > 1e-3
    for views in (logits_by_hand(10, "center"), logits_by_hand(1, "aligned")):
        assert np.abs(averages - np.mean([softmax(view) for view in views], axis=0)).max() > 1e-3
    assert all(np.abs(a - b).max() > 1e-2 for a, b in itertools.pairwise(logits))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [("conv1", (7, 7, 12)), ("conv5", (1, 1, 8)), ("fc6", (32,)), ("fc7", (24,))],
)
def test_features_are_the_towers_maps_or_units_side_by_side(layer, expected, shape):
    features = call(make_features, shape, recipe(), layer=layer)
    assert features.shape == (len(IMAGES), *expected)
    assert features.dtype == np.float32
    (center,) = by_hand(1, "aligned")
    towers = nnx.jit(lambda model, images: model.activations(images)[layer])(model(), center)
    together = np.concatenate(towers, axis=-1)
    np.testing.assert_allclose(features, together, rtol=1e-4, atol=1e-5 * np.abs(together).max())
    assert np.abs(features).max() > 0


@pytest.mark.parametrize("preset", [name for name in PRESETS if PRESETS[name].towers == 2])
def test_two_devices_compute_the_same_as_one(preset: str) -> None:
    architecture = miniature.shrunk(PRESETS[preset])
    fields = recipe()
    fields.model = ConfigDict(dataclasses.asdict(architecture))
    fields.data.size = architecture.image_size
    side = architecture.image_size
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    network = miniature.network(architecture)
    on_one, on_two = (
        compute(make_features, shape, fields, network, images, layer="fc8")
        for shape in ((1, 1), (1, 2))
    )
    assert np.ptp(on_one) > 1
    np.testing.assert_array_equal(on_two, on_one)
