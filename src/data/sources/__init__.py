"""Where original images come from: TFDS, image folders, scikit-learn's digits, or random pixels.

To add a kind, write a function from the section `config.data` to a `Source` and list it here.
"""

from pathlib import Path

from ml_collections import ConfigDict

from .digits import digits_source
from .folder import folder_source
from .source import Source
from .synthetic import synthetic_source

BUILT_IN = {"digits": digits_source, "synthetic": synthetic_source}


def dataset_name(dataset: str) -> str:
    """The name of `config.data.dataset`; that of an image folder is without the path to it."""
    folder = dataset.removeprefix("folder:")
    return dataset if folder == dataset else Path(folder).resolve().name


def find_source(section: ConfigDict, trains: bool = True) -> Source:
    """Finds the data set of `config.data`, with its training split if `trains`.

    Raises:
      MissingOriginals: there is no such data set.
      UserError: there is no such split, or the data set is not one of labeled images. For a TFDS
        name, `Source.load` raises what only the data can tell.
    """
    if section.dataset in BUILT_IN:
        return BUILT_IN[section.dataset](section, trains)
    if section.dataset.startswith("folder:"):
        return folder_source(section, trains)
    from .tfds import tfds_source

    return tfds_source(section, trains)
