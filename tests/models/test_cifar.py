import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from src.models import cifar
from src.models.alexnet import AlexNet
from tests.models.test_layers import naive_windows


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
def test_parameters(name: str, parameters: int) -> None:
    shapes = jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: network(name))))
    assert sum(int(np.prod(leaf.shape)) for leaf in shapes) == parameters


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
def test_shapes_of_what_the_layers_hand_on(name: str, sides: list[int], maps: list[int]) -> None:
    size = cifar.PRESETS[name].image_size
    activations = jax.eval_shape(
        lambda: list(network(name).activations(jnp.zeros((2, size, size, 3))).values())
    )
    shapes = [tower.shape for (tower,) in activations]
    assert shapes[: len(sides)] == [(2, s, s, m) for s, m in zip(sides, maps, strict=True)]
    assert shapes[-1] == (2, 10)


def test_the_18pct_network_is_the_19pct_one_normalised_over_places() -> None:
    """Its first normalisation, with cuda-convnet's 1 + scale / size² · Σ, against a loop."""
    images = np.random.default_rng(0).uniform(-128, 128, (1, 32, 32, 3)).astype(np.float32)
    plain, normalised = network("19pct"), network("18pct")
    for model in (plain, normalised):
        model.conv1.kernel[...] *= 1000  # so that normalisation shows
    (before,) = plain.activations(images)["conv1"]
    (after,) = normalised.activations(images)["conv1"]
    x = np.pad(before, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for place, part in naive_windows(x, 3, 1):
        expected = before[place] / (1 + 5e-5 / 9 * (part.astype(np.float64) ** 2).sum()) ** 0.75
        np.testing.assert_allclose(after[place], expected, rtol=1e-4)
    assert not np.allclose(before, after, rtol=1e-2)
