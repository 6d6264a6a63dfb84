import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from src.report import kernels

RANDOM = np.random.default_rng(0)


def test_colorfulness_of_known_kernels():
    gray, red = np.ones((11, 11, 3)), np.array([1.0, 0, 0]) * np.ones((11, 11, 1))
    opponent = np.array([1.0, -1, 0]) * RANDOM.normal(size=(11, 11, 1))
    stacked = np.stack([gray, red, opponent, np.zeros((11, 11, 3))], axis=-1)
    np.testing.assert_allclose(kernels.colorfulness(stacked), [0, 2 / 3, 1, 0], atol=1e-12)


def test_colorfulness_is_the_energy_share_of_the_projection():
    weights = RANDOM.normal(size=(5, 5, 3, 2000)) * np.array([1, 2, 3]).reshape(3, 1)
    project = np.eye(3) - np.full((3, 3), 1 / 3)
    orthogonal = np.einsum("cd,hwdm->hwcm", project, weights)
    expected = (orthogonal**2).sum((0, 1, 2)) / (weights**2).sum((0, 1, 2))
    np.testing.assert_allclose(kernels.colorfulness(weights), expected)
    independent = kernels.colorfulness(RANDOM.normal(size=(5, 5, 3, 2000)))
    assert independent.mean() == pytest.approx(kernels.RANDOM_COLORFULNESS, abs=0.01)


def test_probability_of_superiority_is_the_area_under_the_roc_curve():
    a, b = RANDOM.integers(0, 20, 48) / 20, RANDOM.integers(5, 25, 40) / 20
    area = roc_auc_score([0] * 48 + [1] * 40, [*a, *b])
    assert kernels.probability_of_superiority(a, b) == pytest.approx(area)


def test_a_locally_connected_first_layer_has_no_kernel_section():
    assert kernels.section(np.ones((1, 6, 6, 75, 8))) is None
    shown = kernels.section(RANDOM.normal(size=(2, 5, 5, 3, 8)))
    assert shown is not None
    assert [len(tower["images"]) for tower in shown["towers"]] == [8, 8]
