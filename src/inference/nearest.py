"""Nearest neighbors: exact, by comparing with all vectors on the device, a chunk at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

CHUNK_BYTES = 8 << 20  # of the index, on the device at a time: what caches hold


class NearestNeighbors:
    """The k nearest of all vectors added so far, by Euclidean distance.

    Memory is that of the queries and of one chunk, however many vectors are added.

    Args:
      queries: (Q, …), any real numbers; what follows the first axis is taken for one vector.
      k: how many of the nearest to keep.

    Attributes:
      distances: float32 (Q, k), ascending; infinite where fewer vectors than k have been added.
      indices: int64 (Q, k), in the order in which the vectors were added; −1 likewise.
    """

    def __init__(self, queries: np.ndarray, k: int):
        self._queries = jax.device_put(queries.reshape(len(queries), -1).astype(np.float32))
        self._num_vectors = 0
        self.distances = np.full((len(queries), k), np.inf, np.float32)
        self.indices = np.full((len(queries), k), -1, np.int64)

    def add(self, vectors: np.ndarray) -> None:
        """Compares with vectors (N, …), whose indices go on where those of the last ones ended."""
        count, k = len(vectors), self.indices.shape[1]
        nearest = _nearest(self._queries, vectors.reshape(count, -1), min(k, count))
        distances, indices = (np.asarray(x) for x in nearest)
        distances = np.concatenate([self.distances, distances], axis=1)
        indices = np.concatenate([self.indices, indices + np.int64(self._num_vectors)], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]  # of equals, those added first
        self.distances = np.take_along_axis(distances, order, axis=1)
        self.indices = np.take_along_axis(indices, order, axis=1)
        self._num_vectors += count


def find_nearest(queries: np.ndarray, index: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k ≤ N nearest vectors of an index (N, …) to queries (Q, …).

    The index may be a memory map that is larger than memory. After a second, a bar shows progress.

    Returns:
      The distances, float32 (Q, k), ascending, and the indices, int64 (Q, k).
    """
    neighbors = NearestNeighbors(queries, k)
    rows = max(1, CHUNK_BYTES // (4 * int(np.prod(index.shape[1:]))))
    with tqdm(total=len(index), desc="search", unit=" vectors", delay=1) as bar:
        for start in range(0, len(index), rows):
            chunk = np.asarray(index[start : start + rows])
            neighbors.add(chunk)
            bar.update(len(chunk))
    return neighbors.distances, neighbors.indices


@functools.partial(jax.jit, static_argnames="k")
def _nearest(queries: jax.Array, vectors: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    vectors = vectors.astype(jnp.float32)
    # Rank by |q − v|² − |q|²: one matrix product. Moving the origin to one of the vectors keeps its
    # rounding small. Distances are then computed from differences: that of an exact copy is 0.
    q, v = queries - vectors[0], vectors - vectors[0]
    products = jnp.matmul(q, v.T, precision=jax.lax.Precision.HIGHEST)
    _, indices = jax.lax.top_k(2 * products - jnp.square(v).sum(axis=1), k)
    differences = queries[:, None] - vectors[indices]
    return jnp.sqrt(jnp.square(differences).sum(axis=-1)), indices
