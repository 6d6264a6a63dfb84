"""Where original images come from: TFDS, image folders, or scikit-learn's digits.

To add a kind, write a function from the section `config.data` to a `Source` and call it here.
"""

from ml_collections import ConfigDict

from .digits import digits_source
from .folder import folder_source
from .source import Source


def find_source(section: ConfigDict, trains: bool = True) -> Source:
    """Finds a data set.

    Args:
      section: `config.data`.
        `dataset`: "digits"; "folder:PATH", see `folder_source`; or a TFDS name such as
        "imagenet2012" or "imagenette/320px-v2".
        `train_split`: the split to train on; by default "train".
        `eval_split`: the split to evaluate on; by default a validation split, else "test".
        `tfds_dir`: where TFDS keeps its data sets.
      trains: whether the training split is needed too, which the data set must then have.

    Raises:
      MissingOriginals: there is no such data set.
      UserError: there is no such split, or the data set is not one of labeled images. For a TFDS
        name, `Source.load` raises what only the data can tell.
    """
    if section.dataset == "digits":
        return digits_source(section, trains)
    if section.dataset.startswith("folder:"):
        return folder_source(section, trains)
    from .tfds import tfds_source

    return tfds_source(section, trains)
