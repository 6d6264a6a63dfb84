import jax
import numpy as np
import pytest

from src.distributed.mesh import BATCH, DATA_AXIS
from src.models.classification import count_ranked_above, label_log_prob, log_softmax
from src.models.layers import TOWER_AXIS
from tests.support import miniature

CLASSES = 8


def on_mesh(shape: tuple[int, int], logits: np.ndarray, labels: np.ndarray):
    """Log-probabilities (N, classes), labels' log-probabilities (N,) and ranks (N,)."""

    def compute_on_shard(logits: jax.Array, labels: jax.Array):
        local = logits.shape[1]
        classes = jax.lax.axis_index(TOWER_AXIS) * local + jax.numpy.arange(local)
        log_p = log_softmax(logits)
        own = jax.lax.psum(label_log_prob(log_p, classes, labels), TOWER_AXIS)
        rank = jax.lax.psum(count_ranked_above(log_p, own, classes, labels), TOWER_AXIS)
        return log_p, own, rank

    by_class = jax.P(DATA_AXIS, TOWER_AXIS)
    function = jax.shard_map(
        compute_on_shard,
        mesh=miniature.mesh(*shape),
        in_specs=(by_class, BATCH),
        out_specs=(by_class, BATCH, BATCH),
    )
    return [np.asarray(x) for x in jax.jit(function)(logits, labels)]


def expected_log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    order = np.argsort(-logits, axis=1, kind="stable")
    return np.argmax(order == labels[:, None], axis=1)


MESHES = [(1, 1), (1, 2), (1, 4), (2, 2)]


@pytest.mark.parametrize("shape", MESHES)
def test_log_probabilities_and_ranks_equal_numpys_on_any_mesh(shape):
    random = np.random.default_rng(0)
    logits = (20 * random.normal(size=(64, CLASSES))).astype(np.float32)
    labels = random.integers(0, CLASSES, 64)
    log_p, own, rank = on_mesh(shape, logits, labels)
    expected = expected_log_softmax(logits)
    np.testing.assert_allclose(log_p, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(own, expected[np.arange(64), labels], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(rank, ranks(logits, labels))


@pytest.mark.parametrize("shape", MESHES)
def test_ties_are_broken_as_in_a_stable_sort(shape):
    random = np.random.default_rng(1)
    logits = random.integers(0, 3, (256, CLASSES)).astype(np.float32)
    labels = random.integers(0, CLASSES, 256)
    np.testing.assert_array_equal(on_mesh(shape, logits, labels)[2], ranks(logits, labels))


@pytest.mark.parametrize("shape", MESHES)
def test_equal_scores_are_right_only_for_the_first_class(shape):
    labels = np.arange(CLASSES)
    _, own, rank = on_mesh(shape, np.zeros((CLASSES, CLASSES), np.float32), labels)
    np.testing.assert_allclose(own, -np.log(CLASSES), rtol=1e-6)
    np.testing.assert_array_equal(rank, labels)


@pytest.mark.parametrize("shape", MESHES)
def test_large_scores_and_outputs_without_a_class_give_exact_results(shape):
    logits = np.full((4, CLASSES), -np.inf, np.float32)
    logits[:, :3] = [1e4, -1e4, 1e4 - 1]
    labels = np.array([0, 1, 2, 0])
    log_p, own, rank = on_mesh(shape, logits, labels)
    loss = np.log1p(np.exp(-1))
    np.testing.assert_allclose(own, [-loss, -2e4 - loss, -1 - loss, -loss], rtol=1e-4)
    np.testing.assert_array_equal(rank, [0, 2, 1, 0])
    assert np.isneginf(log_p[:, 3:]).all()


@pytest.mark.parametrize("shape", MESHES)
def test_nan_scores_count_as_wrong(shape):
    logits = np.zeros((4, CLASSES), np.float32)
    logits[:, 5] = np.nan
    _, own, rank = on_mesh(shape, logits, np.array([0, 3, 5, 7]))
    assert np.isnan(own).all()
    assert (rank >= 5).all()
