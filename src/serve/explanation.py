"""What the page shows of an image besides its classes: maps of all layers, similar images."""

from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import decode
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.nearest import find_nearest
from ..report.feature_maps import draw_layer
from ..report.images import photo
from ..retrieve.index import open_index
from ..runs.preprocessing import read_preprocessing
from ..runs.workdir import open_dataset

NUM_NEAREST = 6
MAX_INDEXED = 2000  # training images that are indexed without --nearest: half a minute on two cores


class TrainingImages:
    """The images that a run was trained on, with an index of their features.

    Args:
      workdir: the run directory, which keeps the index.
      classifier: its network.
      is_asked: whether the user asked for the index, which may take long to make.

    Raises:
      UserError: the images are missing or too many.
      OSError: the directory cannot keep an index.
    """

    def __init__(self, workdir: Path, classifier: Classifier, *, is_asked: bool):
        root, name = classifier.config.data.root, read_preprocessing(workdir).dataset
        if not is_asked and not (name and (Path(root).expanduser() / name).exists()):
            raise UserError("the training images are not prepared")
        data = open_dataset(workdir, classifier.config.data)
        split, self.layer = data.train_split, classifier.architecture.layer_names[-2]
        if not is_asked and (count := data.num_examples[split]) > MAX_INDEXED:
            raise UserError(f"to index {count:,} training images takes a while")
        self._features = open_index(workdir, classifier, split, self.layer).features
        self._records, self._class_names = data.records(split), data.class_names

    def nearest(self, features: np.ndarray) -> list[dict[str, Any]]:
        """The training images nearest to an image, by its features (1, …)."""
        most = min(NUM_NEAREST, len(self._features))
        (distances,), (indices,) = find_nearest(features, self._features, most)
        return [
            {"image": photo(decode(image)), "class": self._class_names[label], "distance": distance}
            for image, label, distance in zip(
                *self._records.read(indices), distances.tolist(), strict=True
            )
        ]


def explain(
    classifier: Classifier, training: TrainingImages | None, pixels: np.ndarray
) -> dict[str, Any]:
    """A prepared image (size, size, 3), the output of each layer but the last, similar images."""
    images, names = pixels[None], classifier.architecture.layer_names[:-1]
    layers = [draw_layer(classifier, images, name) for name in names]
    nearest = training.nearest(classifier.features(images, training.layer)) if training else []
    return {"image": photo(pixels), "layers": layers, "nearest": nearest}
