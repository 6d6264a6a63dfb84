import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from src.distributed.mesh import replicate, to_devices
from src.runs.defaults import default_config
from src.training.optimizer import momentum_sgd
from src.training.state import create_state
from src.training.step import make_train_step
from tests.support import miniature

DECAY, WEIGHT_DECAY = 0.9, 0.0005
RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]  # which drops in the middle


def tree(seed: int) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    shapes = {
        "conv1": {"kernel": (2, 3, 4), "bias": (2, 4)},
        "fc8": {"kernel": (2, 5), "bias": (2,)},
    }
    return jax.tree.map(
        lambda shape: random.normal(size=shape).astype(np.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def in_numpy(
    rates: list[float],
    decayed: tuple[str, ...],
    weight_decays: dict[str, float] | None = None,
    bias_lr_multiplier: float = 1,
) -> list[dict]:
    """The paper's section 5, parameter by parameter; what the parameters are after each step."""
    params, history = tree(0), []
    velocity = jax.tree.map(np.zeros_like, params)
    for step, rate in enumerate(rates):
        gradients = tree(step + 1)
        for layer, fields in params.items():
            for name, w in fields.items():
                v, g = velocity[layer][name], gradients[layer][name]
                weight_decay = (weight_decays or {}).get(layer, WEIGHT_DECAY)
                own = rate * (bias_lr_multiplier if name == "bias" else 1)
                v = DECAY * v - own * g - (weight_decay * own * w if name in decayed else 0)
                velocity[layer][name], fields[name] = v, w + v
        history.append(jax.tree.map(np.copy, params))
    return history


def in_optax(transformation, rates: list[float]) -> list[dict]:
    params, history = tree(0), []
    state = transformation(0.0).init(params)
    for step, rate in enumerate(rates):
        updates, state = transformation(rate).update(tree(step + 1), state, params)
        params = optax.apply_updates(params, updates)
        history.append(params)
    return history


def paper_momentum(decay_biases: bool, **changes):
    section = default_config().optimizer
    fields = {"momentum": DECAY, "weight_decay": WEIGHT_DECAY, "decay_biases": decay_biases}
    section.update({**fields, **changes})
    return lambda rate: momentum_sgd(rate, section)


def largest_difference(a: dict, b: dict) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: np.abs(x - y).max(), a, b)))


@pytest.mark.parametrize(
    ("decay_biases", "decayed"), [(True, ("kernel", "bias")), (False, ("kernel",))]
)
def test_steps_equal_the_papers_rule(decay_biases, decayed):
    steps = in_optax(paper_momentum(decay_biases), RATES)
    for step, expected in zip(steps, in_numpy(RATES, decayed), strict=True):
        assert largest_difference(step, expected) < 1e-6


def test_layers_and_biases_can_have_their_own_decay_and_rate():
    own = {"weight_decays": {"fc8": 3.0}, "bias_lr_multiplier": 2.0}
    steps = in_optax(paper_momentum(decay_biases=False, **own), RATES)
    for step, expected in zip(steps, in_numpy(RATES, ("kernel",), **own), strict=True):
        assert largest_difference(step, expected) < 1e-6
    assert largest_difference(steps[-1], in_numpy(RATES, ("kernel",))[-1]) > 0.1


def test_biases_without_decay_stay_where_no_gradient_pulls():
    params = jax.tree.map(np.ones_like, tree(0))
    zeros = jax.tree.map(np.zeros_like, params)
    optimizer = paper_momentum(decay_biases=False)(0.1)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    for layer in updates.values():
        assert not layer["bias"].any()
        np.testing.assert_allclose(layer["kernel"], -WEIGHT_DECAY * 0.1, rtol=1e-6)


def test_lowering_the_rate_leaves_the_velocity_as_optax_sgd_does_not():
    def sgd(rate: float):
        return optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(rate, momentum=DECAY))

    paper, common = in_optax(paper_momentum(decay_biases=True), RATES), in_optax(sgd, RATES)
    before_the_drop = RATES.index(0.01) - 1
    assert largest_difference(paper[before_the_drop], common[before_the_drop]) < 1e-6
    assert largest_difference(paper[before_the_drop + 1], common[before_the_drop + 1]) > 0.05


def test_the_state_does_not_depend_on_the_rate():
    params = tree(0)
    states = [paper_momentum(decay_biases=True)(rate).init(params) for rate in (0.0, 0.1)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(states))


def test_frozen_layers_have_no_update_whatever_the_decay() -> None:
    params, gradients = tree(0), tree(1)
    frozen = {"weight_decays": {"conv1": 1.0}, "frozen_layers": "conv*"}
    optimizer = paper_momentum(decay_biases=True, **frozen)(0.1)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    assert not any(update.any() for update in updates["conv1"].values())
    assert all(update.all() for update in updates["fc8"].values())


def lars_in_numpy(rates: list[float], section: ConfigDict) -> list[dict]:
    """You, Gitman and Ginsburg's algorithm 1 in float64, their trust coefficient in the rate.

    But it divides by the norm of the gradient with weight decay, and leaves biases alone.
    """
    params = jax.tree.map(np.float64, tree(0))
    velocity, history = jax.tree.map(np.zeros_like, params), []
    for step, rate in enumerate(rates):
        for layer, fields in params.items():
            decay = section.weight_decays.get(layer, section.weight_decay)
            for name, g in tree(step + 1)[layer].items():
                w = fields[name]
                if name == "kernel":
                    g = g + decay * w
                    local_rate = rate * np.sqrt((w**2).sum()) / np.sqrt((g**2).sum())
                else:
                    g = g + decay * w * section.decay_biases
                    local_rate = rate * section.bias_lr_multiplier
                v = section.momentum * velocity[layer][name] - local_rate * g
                velocity[layer][name], fields[name] = v, w + v
        history.append(jax.tree.map(np.copy, params))
    return history


@pytest.mark.parametrize("decay_biases", [True, False])
def test_lars_equals_the_published_rule(decay_biases):
    section = default_config().optimizer
    section.update({"name": "lars", "momentum": 0.8, "weight_decay": 0.5})
    section.update({"decay_biases": decay_biases, "bias_lr_multiplier": 2.0})
    section.weight_decays = {"fc8": 2.0}
    steps = in_optax(lambda rate: momentum_sgd(rate, section), RATES)
    for step, expected in zip(steps, lars_in_numpy(RATES, section), strict=True):
        assert largest_difference(step, expected) < 1e-5


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_lars_moves_a_kernel_by_the_rate_times_its_length_whatever_its_gradient(scale):
    params, gradients = tree(0), jax.tree.map(lambda g: g * np.float32(scale), tree(1))
    optimizer = paper_momentum(decay_biases=True, name="lars", weight_decay=0.0)(0.1)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    for layer, fields in updates.items():
        moved = np.linalg.norm(fields["kernel"]) / np.linalg.norm(params[layer]["kernel"])
        assert moved == pytest.approx(0.1, rel=1e-5)
        np.testing.assert_allclose(fields["bias"], -0.1 * gradients[layer]["bias"], rtol=1e-5)


def test_lars_takes_plain_steps_from_zero_and_leaves_frozen_layers():
    params = jax.tree.map(np.zeros_like, tree(0))
    optimizer = paper_momentum(decay_biases=True, name="lars", frozen_layers="conv*")(0.1)
    updates, _ = optimizer.update(tree(1), optimizer.init(params), params)
    np.testing.assert_allclose(updates["fc8"]["kernel"], -0.1 * tree(1)["fc8"]["kernel"], rtol=1e-6)
    assert not any(update.any() for update in updates["conv1"].values())


@functools.cache
def one_step(name: str, shape: tuple[int, int]) -> tuple[Any, Any]:
    """The parameters before a step of training on a mesh, and their changes."""
    fields, mesh = miniature.config(), miniature.mesh(*shape)
    fields.optimizer.name = name
    state = create_state(fields, miniature.NUM_CLASSES, mesh)
    before = jax.device_get(state.params)
    batch = to_devices(mesh, miniature.batch(fields), fields.batch_size)
    step = make_train_step(fields, miniature.NUM_CLASSES, mesh)
    state, _ = step(state, batch, replicate(mesh, miniature.statistics()), 0.01)
    return before, jax.device_get(state.velocity[1].trace)


@pytest.mark.parametrize(
    "shape", [*(pytest.param(s, marks=pytest.mark.slow) for s in [(1, 1), (1, 2)]), (2, 2)]
)
def test_lars_takes_the_norms_of_both_towers_on_any_mesh(shape):
    params, plain = one_step("momentum", (1, 1))  # the rate times the gradient with weight decay
    _, adapted = one_step("lars", shape)
    for layer, fields in params.items():
        change = plain[layer]["kernel"]
        expected = 0.01 * change * np.linalg.norm(fields["kernel"]) / np.linalg.norm(change)
        # One tower's own norms would differ from these.
        first, second = (
            np.linalg.norm(fields["kernel"][tower]) / np.linalg.norm(change[tower])
            for tower in (0, 1)
        )
        assert first != pytest.approx(second, rel=1e-3)
        limit = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(adapted[layer]["kernel"], expected, rtol=0, atol=limit)
        limit = 1e-4 * np.abs(plain[layer]["bias"]).max()
        np.testing.assert_allclose(adapted[layer]["bias"], plain[layer]["bias"], 0, limit)
