"""Where original images come from: TFDS, image folders, or scikit-learn's digits."""

from pathlib import Path

from .digits import digits_source
from .folder import folder_source
from .source import Source
from .tfds import tfds_source


def find_source(
    dataset: str, *, train_split: str = "", eval_split: str = "", tfds_dir: str = ""
) -> Source:
    """Finds a data set.

    Args:
      dataset: "digits"; "folder:PATH", with train/CLASS/* and val/CLASS/* or test/CLASS/*; or a
        TFDS name such as "imagenet2012" or "imagenette/320px-v2".
      train_split: what to train on; TFDS's can be slices ("train[:90%]"). Empty: "train".
      eval_split: what to evaluate on. Empty: the first of validation, val and test there is.
      tfds_dir: where TFDS keeps its data sets. Empty: where it does by default.

    Raises:
      UserError: there is no such data set or split, or it is not one of images in classes. What
        can only be known with the data of a TFDS name at hand is raised by `Source.load`.
    """
    if dataset == "digits":
        return digits_source(train_split, eval_split)
    if dataset.startswith("folder:"):
        return folder_source(
            Path(dataset.removeprefix("folder:")).expanduser(), train_split, eval_split
        )
    return tfds_source(dataset, train_split, eval_split, tfds_dir)
