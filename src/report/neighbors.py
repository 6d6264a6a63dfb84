"""Figure 4, right: evaluation images and their nearest training images."""

from typing import Any

import numpy as np

from ..inference.nearest import NearestNeighbors
from .run import SEED, Run

NUM_QUERIES, NUM_NEIGHBORS = 6, 6


def section(run: Run, among: int) -> dict[str, Any]:
    """Finds the nearest training images of some evaluation images, by features and by pixels.

    Args:
      among: the largest number of training images to search; they are drawn at random.
    """
    layer = run.architecture.layer_names[-2]  # the last hidden layer
    total = run.data.num_examples[run.data.train_split]
    random = np.random.default_rng(SEED)
    searched = np.sort(random.choice(total, min(among, total), replace=False))
    queries = run.sample(run.data.eval_split, NUM_QUERIES)
    k = min(NUM_NEIGHBORS, len(searched))
    by_features = NearestNeighbors(run.classifier.features(queries.pixels, layer), k)
    by_pixels = NearestNeighbors(queries.pixels, k)
    for batch in run.batches(run.data.train_split, searched, "nearest neighbors"):
        by_features.add(run.classifier.features(batch.pixels, layer))
        by_pixels.add(batch.pixels)
    rows = run.photos(queries)
    same = {"features": 0, "pixels": 0}
    for kind, nearest in (("features", by_features), ("pixels", by_pixels)):
        for row, label, indices in zip(rows, queries.labels, nearest.indices, strict=True):
            neighbors = run.read(run.data.train_split, searched[indices])
            row[kind] = run.photos(neighbors, same=neighbors.labels == label)
            same[kind] += int((neighbors.labels == label).sum())
    counts = {"among": len(searched), "total": total, "shown": len(rows) * k, "same": same}
    return {"rows": rows, "layer": layer, **counts}
