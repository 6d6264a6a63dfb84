"""scikit-learn's handwritten digits, which need no download."""

import numpy as np
from ml_collections import ConfigDict

from .source import Example, Originals, Source, Split, choose_split

CLASS_NAMES = list("0123456789")


def digits_source(section: ConfigDict, trains: bool) -> Source:
    """The digits, of which the split "test" has a fifth of each class."""
    choose_split("train_split", section.train_split, ["train"])
    choose_split("eval_split", section.eval_split, ["test"])

    def load() -> Originals:
        from sklearn.datasets import load_digits  # takes a second to import
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = (digits.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8)
        examples = [Example(f"{i}", int(digits.target[i]), image) for i, image in enumerate(images)]
        train, test = train_test_split(
            examples, test_size=0.2, stratify=digits.target, random_state=0
        )
        return Originals(
            Split("train", len(train), lambda: iter(train)) if trains else None,
            Split("test", len(test), lambda: iter(test)),
        )

    identity = "digits" if trains else "digits test"
    return Source("digits", identity, lambda: CLASS_NAMES, load)
