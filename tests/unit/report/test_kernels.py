import base64

import cv2
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


def test_similarity_is_the_median_cosine():
    initial = RANDOM.normal(size=(2, 11, 11, 3, 48))
    assert kernels.similarity(3 * initial, initial) == pytest.approx(1)
    assert kernels.similarity(-initial, initial) == pytest.approx(-1)
    noise = RANDOM.normal(size=initial.shape)
    assert abs(kernels.similarity(noise, initial)) < 0.05
    assert kernels.similarity(initial + noise, initial) == pytest.approx(0.5**0.5, abs=0.02)


def test_each_kernel_stands_beside_its_initial_one():
    trained, initial = RANDOM.normal(size=(2, 1, 5, 5, 3, 4))
    shown = kernels.section(trained, initial)
    assert shown is not None
    for i, (url, _) in enumerate(shown["towers"][0]["images"]):
        encoded = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
        pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        for kernel, part in ((trained, pixels[:, :5]), (initial, pixels[:, 6:])):
            weights = kernel[0, ..., i] / np.abs(kernel[0, ..., i]).max()
            np.testing.assert_allclose(part[..., 2::-1], 127.5 + 127.5 * weights, atol=0.51)


def test_a_locally_connected_first_layer_has_no_kernel_section():
    assert kernels.section(np.ones((1, 6, 6, 75, 8)), None) is None
    shown = kernels.section(RANDOM.normal(size=(2, 5, 5, 3, 8)), None)
    assert shown is not None
    assert [len(tower["images"]) for tower in shown["towers"]] == [8, 8]
    assert shown["similarity"] is None
