"""Images of a data set as files."""

from pathlib import Path

from PIL import Image

from src.data.examples import save_examples
from src.data.preparation import prepare_dataset
from tests.support import datasets, tiny


def test_classes_in_a_row_are_all_found(tmp_path: Path) -> None:
    for name, count in {"ant": 1200, "bee": 2, "cat": 2}.items():
        for index in range(count):
            datasets.add_image(tmp_path / "images" / "val" / name / f"{index}.png", index % 256)
        datasets.add_image(tmp_path / "images" / "train" / name / "0.png")
    section = datasets.section(f"folder:{tmp_path / 'images'}", root=str(tmp_path / "root"))
    paths = save_examples(prepare_dataset(section), tmp_path / "examples")
    assert [path.stem for path in paths] == ["0-ant", "1-bee", "2-cat"]


def test_one_image_of_each_class_is_left_as_it_was_prepared(tmp_path: Path, cache: Path) -> None:
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    dataset = prepare_dataset(config.data)
    paths = save_examples(dataset, tmp_path / "examples")
    assert [path.name for path in paths] == [f"{digit}-{digit}.jpg" for digit in range(10)]
    assert sorted((tmp_path / "examples").iterdir()) == paths
    examples = list(dataset.records("test").examples(range(360)))
    for label, path in enumerate(paths):
        encoded = next(encoded for encoded, other in examples if other == label)
        assert path.read_bytes() == encoded
        with Image.open(path) as image:
            assert image.size == (dataset.size, dataset.size)
