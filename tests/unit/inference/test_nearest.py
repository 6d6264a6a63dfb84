"""The nearest of many vectors, against NumPy."""

import math

import numpy as np
import pytest

from src.inference import nearest
from src.inference.nearest import NearestNeighbors, find_nearest

RANDOM = np.random.default_rng(0)


def by_numpy(queries: np.ndarray, index: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    differences = queries[:, None].astype(np.float64) - index[None]
    distances = np.sqrt(np.square(differences).sum(axis=-1))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_neighbors_equal_numpys_for_any_chunk_size(rows, monkeypatch):
    index = RANDOM.normal(size=(300, 12)).astype(np.float32)
    queries = np.concatenate([index[[17, 299]], RANDOM.normal(size=(5, 12)).astype(np.float32)])
    monkeypatch.setattr(nearest, "CHUNK_BYTES", rows * 4 * 12)
    distances, indices = find_nearest(queries, index, 9)
    expected_distances, expected = by_numpy(queries, index, 9)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-5, atol=1e-7)
    assert distances[:2, 0].tolist() == [0, 0]


def test_distances_of_bright_images_are_exact():
    index = RANDOM.integers(240, 256, (50, 8, 8, 3), dtype=np.uint8)
    queries = index[:3].copy()
    queries[:, 0, 0, 0] ^= 1  # nearly a copy: one apart
    neighbors = NearestNeighbors(queries, 4)
    for start in range(0, 50, 20):
        neighbors.add(index[start : start + 20])
    flat = [x.reshape(len(x), -1) for x in (queries, index)]
    distances, indices = by_numpy(*flat, 4)
    np.testing.assert_array_equal(neighbors.indices, indices)
    np.testing.assert_allclose(neighbors.distances, distances, rtol=1e-6)
    assert neighbors.distances[:, 0].tolist() == [1, 1, 1]


def test_neighbors_far_from_the_origin_are_exact():
    index = (10 + 0.01 * RANDOM.normal(size=(2000, 512))).astype(np.float32)
    queries = (10 + 0.01 * RANDOM.normal(size=(5, 512))).astype(np.float32)
    distances, indices = find_nearest(queries, index, 6)
    expected_distances, expected = by_numpy(queries, index, 6)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-4)


def test_missing_neighbors_have_no_index_and_infinite_distance():
    neighbors = NearestNeighbors(np.zeros((1, 2)), 3)
    neighbors.add(np.array([[3.0, 4.0]]))
    assert neighbors.indices.tolist() == [[0, -1, -1]]
    assert neighbors.distances.tolist() == [[5, math.inf, math.inf]]
