"""Class weights, label smoothing, batches in parts, and training that ends early."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.data.dataset import PreparedDataset
from src.distributed.environment import process_info
from src.distributed.mesh import replicate, to_devices
from src.distributed.process_group import ProcessGroup
from src.errors import UserError
from src.training.loop import Status, train
from src.training.loss import make_loss, plain
from src.training.state import create_state
from src.training.step import make_train_step
from src.training.validation import validate_config
from tests.support import miniature, tiny

CLASSES = miniature.NUM_CLASSES
LABELS = [0] * 6 + [1] * 3 + [2, 3, 4, 5, 6]
DATA = cast(
    PreparedDataset,
    SimpleNamespace(class_names=list("abcdefg"), class_counts=[6, 3, 1, 1, 1, 1, 1]),
)


def recipe(**fields: Any) -> ConfigDict:
    config = miniature.config()
    config.update(fields)
    return config


def one_step(config: ConfigDict, shape: tuple[int, int]) -> tuple[Any, dict[str, float]]:
    mesh = miniature.mesh(*shape)
    batch = to_devices(mesh, miniature.batch(config), config.batch_size)
    inputs = batch, replicate(mesh, miniature.statistics()), np.float32(0.01)
    step = make_train_step(config, CLASSES, mesh, make_loss(config, DATA))
    state, metrics = step(create_state(config, CLASSES, mesh), *inputs)
    return jax.device_get(state.velocity), {name: float(x) for name, x in metrics.items()}


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    for (path, a), b in zip(
        jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b), path


def test_loss_is_weighted_and_smoothed_cross_entropy() -> None:
    random = np.random.default_rng(0)
    log_p = np.log(random.dirichlet(np.ones(CLASSES), 4)).astype(np.float32)
    labels, weights = np.array([0, 3, 3, 6]), np.array([1, 2, 3, 4, 5, 6, 7])
    target = np.full((4, CLASSES), 0.1 / CLASSES)
    target[np.arange(4), labels] += 0.9
    expected = -weights[labels] * (target * log_p).sum(axis=1)
    loss = make_loss(recipe(class_weights="1,2,3,4,5,6,7", label_smoothing=0.1), DATA)
    # A last output that stands for no class, as a tower may have.
    padded = jnp.pad(log_p, [(0, 0), (0, 1)], constant_values=-jnp.inf)
    cross_entropy = -log_p[np.arange(4), labels]
    actual = loss(cross_entropy, padded, jnp.arange(CLASSES + 1), labels, lambda x: x)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_balanced_weights_give_each_class_the_same_share() -> None:
    loss = make_loss(recipe(class_weights="balanced"), DATA)
    labels = np.array(LABELS)
    log_p = jnp.zeros((len(labels), CLASSES))
    weights = loss(np.ones(len(labels)), log_p, jnp.arange(CLASSES), labels, lambda x: x)
    shares = np.bincount(labels, weights)
    np.testing.assert_allclose(shares, len(labels) / CLASSES, rtol=1e-6)


def test_the_paper_s_loss_is_the_cross_entropy() -> None:
    assert make_loss(recipe(), DATA) is plain


@pytest.mark.slow
def test_step_with_weights_and_smoothing_is_the_same_on_any_mesh() -> None:
    config = recipe(class_weights="balanced", label_smoothing=0.2)
    gradients, metrics = one_step(config, (1, 1))
    others, other_metrics = one_step(config, (2, 2))
    assert_close(others, gradients, 1e-4)
    _, ordinary_metrics = one_step(recipe(), (1, 1))
    assert other_metrics["loss"] == pytest.approx(ordinary_metrics["loss"], rel=1e-5)
    assert other_metrics["grad_norm"] == pytest.approx(metrics["grad_norm"], rel=1e-4)
    assert other_metrics["grad_norm"] != pytest.approx(ordinary_metrics["grad_norm"], rel=1e-2)


@pytest.mark.parametrize(
    ("parts", "shape"), [pytest.param(4, (1, 1), marks=pytest.mark.slow), (2, (2, 2))]
)
def test_batch_in_parts_has_the_gradient_of_the_whole(parts: int, shape: tuple[int, int]) -> None:
    gradients, metrics = one_step(recipe(), (1, 1))
    accumulated, same = one_step(recipe(accumulate=parts), shape)
    assert_close(accumulated, gradients, 1e-4)
    assert same == pytest.approx(metrics, rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_weights": "1,2"}, "class_weights: 2 numbers for 7 classes, which are a, b"),
        ({"class_weights": "heavy"}, "class_weights: 'heavy' is neither 'balanced' nor positive"),
        ({"class_weights": "1,-2"}, "class_weights: '1,-2' is neither"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not between 0 and 0.999999"),
        ({"accumulate": 3}, "accumulate: 3 parts do not divide 8 images, which each of 1 data"),
        ({"accumulate": 0}, "accumulate: 0 is not between 1"),
        ({"stop_after": -1}, "stop_after: -1 is not between 0"),
    ],
)
def test_mistake_is_refused(fields: dict[str, Any], message: str) -> None:
    config = recipe(**fields)
    with pytest.raises(UserError, match=f"config.{message}"):  # noqa: PT012
        validate_config(config)
        make_train_step(config, CLASSES, miniature.mesh(1, 1), make_loss(config, DATA))


@pytest.mark.slow
def test_training_ends_after_evaluations_without_a_new_best(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    config.schedule.learning_rate = 1e-12  # nothing is learned
    config.duration, config.evaluate_every, config.stop_after = "100 steps", "1 step", 3
    group = ProcessGroup(process_info({}), config.processes)
    result = train(config, tmp_path, group)
    assert result.status is Status.FINISHED
    assert result.result is not None
    assert result.result["step"] == 4  # the first evaluation is the best
    assert "ends after step 4: no new best in 3 evaluations" in capsys.readouterr().err
    assert train(config, tmp_path, group).message.startswith(f"{tmp_path} is finished")
