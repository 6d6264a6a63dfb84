import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.cifar import get_config
from src.models import cifar
from src.models.alexnet import AlexNet
from tests.unit.models.test_layers import naive_windows


def network(name: str) -> AlexNet:
    return AlexNet(10, cifar.PRESETS[name], rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("80sec", 145_578),
        ("19pct", 89_578),
        ("18pct", 89_578),
        ("conv-local-13pct", 1_116_490),
        ("conv-local-11pct", 2_112_970),
    ],
)
def test_number_of_parameters(name: str, parameters: int) -> None:
    shapes = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: network(name))))
    assert sum(int(np.prod(leaf.shape)) for leaf in shapes) == parameters
    assert not any(leaf.weak_type for leaf in shapes)  # else a step that changed it compiles anew


@pytest.mark.parametrize(
    ("name", "sides", "maps"),
    [
        ("80sec", [16, 8, 4], [32, 32, 64]),
        ("19pct", [16, 8, 4], [32, 32, 64]),
        ("18pct", [16, 8, 4], [32, 32, 64]),
        ("conv-local-13pct", [12, 6, 6, 6], [64, 64, 32, 32]),
        ("conv-local-11pct", [12, 6, 6, 6], [64, 64, 64, 32]),
    ],
)
def test_output_shapes_of_the_layers(name: str, sides: list[int], maps: list[int]) -> None:
    size = cifar.PRESETS[name].image_size
    activations = jax.eval_shape(
        lambda: list(network(name).activations(jnp.zeros((2, size, size, 3))).values())
    )
    shapes = [tower.shape for (tower,) in activations]
    assert shapes[: len(sides)] == [(2, s, s, m) for s, m in zip(sides, maps, strict=True)]
    assert shapes[-1] == (2, 10)


@pytest.mark.slow
def test_18pct_network_is_the_19pct_network_with_spatial_normalization() -> None:
    """Its first normalization, with cuda-convnet's 1 + scale / size² · Σ, against a loop."""
    images = np.random.default_rng(0).uniform(-128, 128, (1, 32, 32, 3)).astype(np.float32)
    plain, normalized = network("19pct"), network("18pct")
    for model in (plain, normalized):
        model.conv1.kernel[...] *= 1000  # so that normalization shows
    (before,) = plain.activations(images)["conv1"]
    (after,) = normalized.activations(images)["conv1"]
    x = np.pad(before, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for position, part in naive_windows(x, 3, 1):
        expected = before[position] / (1 + 5e-5 / 9 * (part.astype(np.float64) ** 2).sum()) ** 0.75
        np.testing.assert_allclose(after[position], expected, rtol=1e-4)
    assert not np.allclose(before, after, rtol=1e-2)


# Of layers-*.cfg and layer-params-*.cfg: each layer's initW and wc; of a norm its size, and scale.
CONVS = {"conv1": (1e-4, 0.004), "conv2": (0.01, 0.004), "conv3": (0.01, 0.004)}
LOCALS = {"conv1": (1e-4, 0), "conv2": (0.01, 0), "local3": (0.04, 0.004), "local4": (0.04, 0.004)}
FILES = {
    "80sec": ({**CONVS, "fc4": (0.1, 0.03), "fc5": (0.1, 0.03)}, None),
    "19pct": ({**CONVS, "fc4": (0.01, 3)}, None),
    "19pct-translations": (
        {"conv1": (1e-4, 0), "conv2": (0.01, 0), "conv3": (0.01, 0), "fc4": (0.01, 0)},
        None,
    ),
    "18pct": ({**CONVS, "fc4": (0.01, 1)}, (3, 5e-5, 3**2)),
    "conv-local-13pct": ({**LOCALS, "fc5": (0.01, 0.004)}, None),
    "conv-local-11pct": ({**LOCALS, "fc5": (0.01, 0.01)}, (9, 0.001, 9)),
}


@pytest.mark.parametrize("name", FILES)
def test_recipes_equal_the_published_files(name: str) -> None:
    layers, norm = FILES[name]
    config = get_config(name)
    specs = {**config.model.convs, **config.model.dense}
    optimizer = config.optimizer
    decays = dict.fromkeys(specs, optimizer.weight_decay) | optimizer.weight_decays.to_dict()
    assert {layer: (spec.sigma, decays[layer]) for layer, spec in specs.items()} == layers
    assert {spec.bias for spec in specs.values()} == {0}
    assert not optimizer.decay_biases
    assert config.schedule.learning_rate == 0.001
    assert config.schedule.learning_rate * optimizer.bias_lr_multiplier == 0.002
    assert optimizer.momentum == 0.9
    assert config.batch_size == 128
    norms = [(norm.n, norm.k, norm.alpha, norm.beta) for norm in config.model.norms.values()]
    if norm is None:
        assert norms == []
    else:
        size, scale, positions = norm
        assert norms == [(size, 1, pytest.approx(scale / positions), 0.75)]
