"""Figure 4, right: the training images nearest to some others, by features and by pixels."""

from typing import Any

import numpy as np

from ..inference.nearest import NearestNeighbors
from .images import photo
from .run import RANDOM, Run

QUERIES, NEAREST = 6, 6


def show(run: Run, among: int) -> dict[str, Any]:
    """Evaluation images beside their nearest training images.

    Args:
      among: how many training images to compare with at most, drawn at random.
    """
    layer = run.layers[-2]  # the last hidden one
    total = run.data.num_examples[run.data.train_split]
    index = np.arange(total)
    if among < total:
        index = np.sort(np.random.default_rng(RANDOM).choice(total, among, replace=False))
    queries = run.draw(run.data.eval_split, QUERIES)
    nearest = min(NEAREST, len(index))
    by_features = NearestNeighbors(run.classifier.features(queries.pixels, layer), nearest)
    by_pixels = NearestNeighbors(queries.pixels, nearest)
    for batch in run.batches(run.data.train_split, index, "nearest neighbors"):
        by_features.add(run.classifier.features(batch.pixels, layer))
        by_pixels.add(batch.pixels)

    def show_images(positions: np.ndarray, label: int) -> list[dict[str, Any]]:
        some = run.read(run.data.train_split, index[positions])
        return [
            {"image": photo(p), "label": run.class_names[i], "same": i == label}
            for p, i in zip(some.pixels, some.labels, strict=True)
        ]

    rows = [
        {
            "image": photo(pixels),
            "label": run.class_names[label],
            "features": show_images(by_features.indices[number], label),
            "pixels": show_images(by_pixels.indices[number], label),
        }
        for number, (pixels, label) in enumerate(zip(queries.pixels, queries.labels, strict=True))
    ]
    same = {
        kind: sum(one["same"] for row in rows for one in row[kind])
        for kind in ("features", "pixels")
    }
    return {
        "rows": rows,
        "layer": layer,
        "among": len(index),
        "total": total,
        "same": same,
        "of": len(rows) * nearest,
    }
