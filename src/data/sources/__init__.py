"""Where original images come from: TFDS, image folders, or scikit-learn's digits.

To add a kind, write a function from the section `config.data` to a `Source` and list it here.
"""

from ml_collections import ConfigDict

from .digits import digits_source
from .folder import folder_source
from .source import Source
from .tfds import tfds_source


def find_source(section: ConfigDict) -> Source:
    """Finds a data set.

    Args:
      section: `config.data`. Its `dataset` is "digits"; "folder:PATH", with train/CLASS/* and
        val/CLASS/* or test/CLASS/*; or a TFDS name such as "imagenet2012" or
        "imagenette/320px-v2". `train_split` is what to train on, by default "train"; `eval_split`
        what to evaluate on, by default the first of validation, val and test that exists.
        `tfds_dir` is where TFDS keeps its data sets.

    Raises:
      UserError: there is no such data set or split, or it is not one of images in classes. What
        only the data of a TFDS name can tell is raised by `Source.load`.
    """
    if section.dataset == "digits":
        return digits_source(section)
    if section.dataset.startswith("folder:"):
        return folder_source(section)
    return tfds_source(section)
