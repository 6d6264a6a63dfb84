import functools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from src.models.alexnet import AlexNet
from src.models.architecture import Architecture, NormSpec
from src.models.presets import CHM145, ONE_GPU, PAPER, PRESETS, TORCHVISION
from tests.support import miniature

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
DENSE = ("fc6", "fc7", "fc8")


@functools.cache
def abstract(preset: str) -> AlexNet:
    return nnx.eval_shape(lambda: AlexNet(1000, PRESETS[preset], rngs=nnx.Rngs(0)))


def count(module: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module)))


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("paper", 60_965_224),
        ("chm145", 60_965_224),
        ("one_gpu", 59_798_312),
        ("torchvision", 61_100_840),
        ("bvlc", 60_965_224),
        ("caffenet", 60_965_224),
    ],
)
def test_number_of_parameters(preset, parameters):
    assert count(abstract(preset)) == parameters


def test_default_architecture_is_the_papers():
    model = nnx.eval_shape(lambda: AlexNet(num_classes=1000, rngs=nnx.Rngs(0)))
    assert model.architecture == PAPER
    assert count(model) == 60_965_224


@pytest.mark.parametrize(
    ("layer", "kernel", "parameters"),
    [
        ("conv1", (2, 11, 11, 3, 48), 34_944),
        ("conv2", (2, 5, 5, 48, 128), 307_456),
        ("conv3", (2, 3, 3, 256, 192), 885_120),
        ("conv4", (2, 3, 3, 192, 192), 663_936),
        ("conv5", (2, 3, 3, 192, 128), 442_624),
        ("fc6", (2, 9216, 2048), 37_752_832),
        ("fc7", (2, 4096, 2048), 16_781_312),
        ("fc8", (2, 4096, 500), 4_097_000),
    ],
)
def test_parameters_of_the_papers_layers(layer, kernel, parameters):
    module = getattr(abstract("paper"), layer)
    assert module.kernel.shape == kernel
    assert module.bias.shape == (2, kernel[-1])
    assert count(module) == parameters


def abstract_images(architecture: Architecture) -> jax.ShapeDtypeStruct:
    side = architecture.image_size
    return jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)


def test_output_shapes_of_the_papers_layers():
    model = abstract("paper")
    outputs = nnx.eval_shape(lambda m, x: m.activations(x), model, abstract_images(PAPER))
    assert {name: [x.shape[1:] for x in towers] for name, towers in outputs.items()} == {
        "conv1": [(27, 27, 48)] * 2,
        "conv2": [(13, 13, 128)] * 2,
        "conv3": [(13, 13, 192)] * 2,
        "conv4": [(13, 13, 192)] * 2,
        "conv5": [(6, 6, 128)] * 2,
        "fc6": [(2048,)] * 2,
        "fc7": [(2048,)] * 2,
        "fc8": [(500,)] * 2,
    }


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("paper", 724_406_816), ("one_gpu", 391_514_384), ("torchvision", 714_188_480)],
)
def test_multiply_accumulates_of_an_image(preset, expected):
    graph, state = nnx.split(abstract(preset))
    images = abstract_images(PRESETS[preset])
    jaxpr = jax.make_jaxpr(lambda state, x: nnx.merge(graph, state)(x))(state, images)
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            kernel, result = equation.invars[1].aval, equation.outvars[0].aval
            total += kernel.size * result.size // kernel.shape[-1]
    assert total == expected


SEQUENCE = [*CONVS, *DENSE]
FIRST, SECOND, BOTH, NEITHER = (True, False), (False, True), (True, True), (False, False)


@pytest.mark.parametrize(
    ("layer", "tower", "changed"),
    [
        ("conv1", 0, [FIRST, FIRST, BOTH, BOTH, BOTH, BOTH, BOTH, BOTH]),
        ("conv2", 1, [NEITHER, SECOND, BOTH, BOTH, BOTH, BOTH, BOTH, BOTH]),
        ("conv3", 0, [NEITHER, NEITHER, FIRST, FIRST, FIRST, BOTH, BOTH, BOTH]),
        ("conv4", 1, [NEITHER, NEITHER, NEITHER, SECOND, SECOND, BOTH, BOTH, BOTH]),
        ("fc6", 0, [*[NEITHER] * 5, FIRST, BOTH, BOTH]),
        ("fc7", 1, [*[NEITHER] * 6, SECOND, BOTH]),
        ("fc8", 0, [*[NEITHER] * 7, FIRST]),
    ],
)
def test_change_in_one_tower_spreads_only_where_layers_exchange(layer, tower, changed):
    model = miniature.network(miniature.shrunk(PAPER), num_classes=8)
    images = miniature.images_for(model.architecture)
    before = miniature.activations(model, images)
    kernel = getattr(model, layer).kernel
    kernel[...] = kernel[...].at[tower].multiply(1.1)
    after = miniature.activations(model, images)
    assert [
        tuple(not np.array_equal(x, y) for x, y in zip(before[name], after[name], strict=True))
        for name in SEQUENCE
    ] == changed


ONE_COLUMN = miniature.shrunk(
    PAPER, exchange_before=tuple(SEQUENCE[1:]), norms={"lrn": NormSpec(enabled=False)}
)


@pytest.mark.parametrize("towers", [2, 4])
def test_single_column_computes_the_same_on_any_number_of_towers(towers):
    column = miniature.network(replace(ONE_COLUMN, towers=1), num_classes=8)
    split = miniature.network(replace(ONE_COLUMN, towers=towers), num_classes=8)
    for name in SEQUENCE:
        single, parts = getattr(column, name), getattr(split, name)
        kernel = np.asarray(single.kernel[0])
        if name == "fc6":
            positions = ONE_COLUMN.spatial_sizes()["conv5"][1] ** 2
            by_tower = kernel.reshape(positions, towers, -1, kernel.shape[-1])
            kernel = by_tower.swapaxes(0, 1).reshape(kernel.shape)
        parts.kernel[...] = np.stack(np.split(kernel, towers, axis=-1))
        parts.bias[...] = np.asarray(single.bias[...]).reshape(parts.bias.shape)
    images = miniature.images_for(ONE_COLUMN)
    np.testing.assert_allclose(
        nnx.jit(split)(images), nnx.jit(column)(images), rtol=1e-4, atol=1e-4
    )


def test_towers_that_exchange_only_before_the_last_layer_are_independent_networks():
    towers = miniature.network(miniature.shrunk(PAPER, exchange_before=("fc8",)), num_classes=8)
    images = miniature.images_for(towers.architecture)
    together = miniature.activations(towers, images)["fc7"]
    halves = {
        "convs": {
            name: replace(spec, maps=spec.maps // 2)
            for name, spec in towers.architecture.convs.items()
        },
        "dense": {
            name: replace(spec, units=spec.units // 2)
            for name, spec in towers.architecture.dense.items()
        },
    }
    for tower in (0, 1):
        alone = miniature.network(miniature.shrunk(ONE_GPU, **halves), num_classes=8)
        for name in SEQUENCE[:-1]:
            getattr(alone, name).kernel[...] = getattr(towers, name).kernel[tower : tower + 1]
            getattr(alone, name).bias[...] = getattr(towers, name).bias[tower : tower + 1]
        (expected,) = miniature.activations(alone, images)["fc7"]
        np.testing.assert_allclose(together[tower], expected, rtol=1e-4, atol=1e-5)


def initial(num_classes: int, architecture: Architecture, seed: int = 0) -> AlexNet:
    return nnx.jit(lambda: AlexNet(num_classes, architecture, rngs=nnx.Rngs(seed)))()


@pytest.mark.parametrize(
    ("preset", "sigmas"),
    [(PAPER, [0.01] * 8), (CHM145, [0.01] * 2 + [0.03] * 3 + [0.01] * 3)],
)
def test_initial_weights_and_biases_of_the_paper(preset, sigmas):
    model = initial(100, miniature.shrunk(preset))
    for name, sigma, bias in zip(SEQUENCE, sigmas, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
        layer = getattr(model, name)
        assert np.std(layer.kernel[...]) == pytest.approx(sigma, rel=0.1), name
        assert np.mean(layer.kernel[...]) == pytest.approx(0, abs=0.1 * sigma), name
        assert (layer.bias[...] == bias).all(), name


@pytest.mark.parametrize("preset", [PAPER, TORCHVISION])
def test_he_initialization_uses_the_fan_in_of_a_tower(preset):
    model = initial(100, miniature.shrunk(replace(preset, init="he")))
    for name in SEQUENCE:
        kernel = getattr(model, name).kernel[...]
        assert np.std(kernel) == pytest.approx(math.sqrt(2 / kernel[0, ..., 0].size), rel=0.1), name


def test_initialization_of_torchvisions_network_matches_pytorchs():
    torch = pytest.importorskip("torch")
    model = initial(100, miniature.shrunk(TORCHVISION))
    for name in SEQUENCE:
        kernel = np.asarray(getattr(model, name).kernel[...])
        theirs = torch.nn.Linear(kernel[0, ..., 0].size, 1000).weight.detach().numpy()
        assert np.abs(kernel).max() == pytest.approx(np.abs(theirs).max(), rel=0.02), name
        assert np.std(kernel) == pytest.approx(np.std(theirs), rel=0.05), name


def test_towers_and_seeds_start_with_different_weights():
    def kernels(seed: int) -> np.ndarray:
        architecture = miniature.shrunk(PAPER)
        draw = jax.jit(lambda: AlexNet(10, architecture, rngs=nnx.Rngs(seed)).conv1.kernel[...])
        return np.asarray(draw())

    first = kernels(0)
    assert not np.isclose(first[0], first[1]).all()
    assert not np.isclose(first, kernels(1)).all()
    np.testing.assert_array_equal(first, kernels(0))


def test_bfloat16_activations_with_float32_parameters_and_scores():
    architecture = miniature.shrunk(PAPER)
    model = miniature.network(architecture, dtype=jnp.bfloat16)
    images = miniature.images_for(architecture)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    outputs = miniature.activations(model, images)
    assert {x.dtype for towers in outputs.values() for x in towers} == {jnp.dtype("bfloat16")}
    scores = nnx.jit(model)(images)
    assert scores.dtype == jnp.float32
    exact = nnx.jit(miniature.network(architecture))(images)
    assert 0 < np.abs(scores - exact).max() < 0.05 * np.ptp(exact)


@pytest.mark.parametrize("num_classes", [1, 3, 5])
def test_classes_that_towers_cannot_share_evenly(num_classes):
    model = miniature.network(miniature.shrunk(PAPER), num_classes=num_classes)
    images = miniature.images_for(model.architecture)
    outputs = num_classes + 1
    assert model.fc8.kernel.shape == (2, 24, outputs // 2)
    np.testing.assert_array_equal(model.local_classes(), np.arange(outputs))
    scores = miniature.logits(model, images)
    assert scores.shape == (2, outputs)
    assert np.isneginf(scores[:, num_classes:]).all()
    np.testing.assert_allclose(nnx.jit(model)(images), scores[:, :num_classes], rtol=1e-5)
    np.testing.assert_allclose(jax.nn.softmax(scores)[:, :num_classes].sum(axis=1), 1, rtol=1e-6)


def test_outputs_that_stand_for_no_class_get_no_gradient():
    model = miniature.network(miniature.shrunk(PAPER), num_classes=5)
    images = miniature.images_for(model.architecture)
    gradients = nnx.jit(nnx.grad(lambda m: -jax.nn.log_softmax(m.logits(images))[:, 4].mean()))(
        model
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    kernel, bias = gradients["fc8"]["kernel"][...], gradients["fc8"]["bias"][...]
    assert not kernel[1, :, 2].any()
    assert bias[1, 2] == 0
    assert kernel[1, :, 1].any()
    assert kernel[0, :, 0].any()


def test_input_scale_multiplies_the_images():
    model = miniature.network(miniature.shrunk(PAPER))
    scaled = miniature.network(miniature.shrunk(PAPER, input_scale=1 / 64))
    images = miniature.images_for(model.architecture)
    np.testing.assert_allclose(nnx.jit(scaled)(64 * images), nnx.jit(model)(images), rtol=1e-5)


def test_tanh_replaces_relu_in_every_layer():
    model = miniature.network(
        miniature.shrunk(
            PAPER, activation="tanh", input_scale=1 / 64, norms={"lrn": NormSpec(enabled=False)}
        )
    )
    images = miniature.images_for(model.architecture)
    h = miniature.activations(model, images)
    for name in SEQUENCE[:-1]:
        assert np.abs(h[name]).max() <= 1, name
        assert np.min(h[name]) < 0, name
    fc6 = np.concatenate(h["fc6"], axis=-1)
    expected = 0.5 * np.tanh(fc6 @ np.asarray(model.fc7.kernel[1]) + model.fc7.bias[1])
    np.testing.assert_allclose(h["fc7"][1], expected, rtol=1e-4, atol=1e-5)
