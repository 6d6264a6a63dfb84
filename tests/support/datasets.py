"""Data sets by their names, without a whole recipe; and what is in them."""

from pathlib import Path

from ml_collections import ConfigDict
from PIL import Image

from src.data.dataset import PreparedDataset
from src.data.preparation import prepare_dataset
from src.data.sources import find_source
from src.data.sources.source import Source, Split


def section(
    dataset: str, size: int = 16, root: str | Path = "", **fields: str | float
) -> ConfigDict:
    """`config.data` of a data set."""
    defaults = {"train_split": "", "eval_split": "", "tfds_dir": "", "cache_gb": 0.0}
    return ConfigDict({"dataset": dataset, "size": size, "root": str(root), **defaults, **fields})


def prepared(dataset: str, size: int, root: str | Path, **fields: str | float) -> PreparedDataset:
    return prepare_dataset(section(dataset, size, root, **fields))


def source(dataset: str, **fields: str | float) -> Source:
    return find_source(section(dataset, **fields))


def add_image(path: Path, gray: int = 0, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), gray).save(path)


def contents(split: Split) -> list[tuple[str, int]]:
    examples = [(example.name, example.label) for example in split.examples()]
    assert len(examples) == split.num_examples
    return examples
