"""scikit-learn's handwritten digits, which need no download."""

import numpy as np
from ml_collections import ConfigDict

from .source import Example, Originals, Source, Split, choose_split


def digits_source(section: ConfigDict) -> Source:
    """The digits, a fifth of each class held out as the split "test"."""
    choose_split("train_split", section.train_split, ["train"])
    choose_split("eval_split", section.eval_split, ["test"])

    def load() -> Originals:
        from sklearn.datasets import load_digits  # takes a second to import
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = (digits.images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8)
        train, test = train_test_split(
            np.arange(len(images)), test_size=0.2, stratify=digits.target, random_state=0
        )

        def split(name: str, indices: np.ndarray) -> Split:
            return Split(
                name,
                len(indices),
                lambda: (Example(f"{i}", int(digits.target[i]), images[i]) for i in indices),
            )

        class_names = [str(name) for name in digits.target_names]
        return Originals(class_names, split("train", train), split("test", test))

    return Source("digits", "digits", lambda: load().class_names, load)
