"""What the model card says about a network, its training and its data."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from src.export.model_card import license_of, render_model_card
from tests.support import tiny


def render(**metadata: Any) -> str:
    """The model card for this metadata, with defaults for the other fields."""
    recipe = tiny.get_config()
    recipe.init_from = metadata.pop("init_from", "")
    defaults = {
        "format": "jax",
        "input": {"shape": ["batch", 73, 73, 3]},
        "views": 1,
        "class_names": ["a"],
        "parameters": 1,
        "step": 2,
        "result": None,
        "in_train": None,
        "weights_from": None,
        "origin": None,
        "recipe": recipe.to_dict(),
        "made_with": {},
        "sha256": "",
    }
    return render_model_card("net.jax", defaults | metadata)


def front_matter(text: str) -> dict[str, Any]:
    start, fields, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(fields)


IMPORTED = {"kind": "torchvision's AlexNet", "file": "alexnet.pth", "sha256": "7be5"}


def test_a_folder_has_a_name_however_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path / "flowers")
    recipe = tiny.get_config("folder:.").to_dict()
    assert "\n# AlexNet for images in the directory flowers\n" in render(recipe=recipe)


def test_model_card_names_all_training_data() -> None:
    first = {"dataset": "imagenet2012", "weights_from": IMPORTED, "origin": None}
    second = {"dataset": "folder:/home/me/flowers", "weights_from": None, "origin": first}
    text = render(init_from="/home/me/runs/flowers", origin=second)
    for part in (
        "CC BY 4.0",
        "in the directory flowers. License: unknown",
        "ImageNet's terms of access",
    ):
        assert part in text
    assert (
        "starting from the weights of a network for images in the directory flowers, which started"
        in text
    )
    assert "torchvision's AlexNet, `alexnet.pth` (SHA-256 7be5)" in text
    assert "/home" not in text
    assert "about which nothing more is known" in render(init_from="/home/me/runs/flowers")


def test_model_card_of_imported_weights_has_their_result() -> None:
    assert "The network was not evaluated." in render(weights_from=IMPORTED)
    result = {"top1_error": 0.5, "top5_error": 0.25, "examples": 360, "views": 10}
    text = render(weights_from=IMPORTED, result=result)
    assert "50.00%, top-5 error 25.00%, on 360 images, averaged over 10 views." in text


def test_model_card_claims_no_more_of_the_evaluation_than_is_known() -> None:
    result = {"top1_error": 0.5, "top5_error": 0.25, "examples": 360, "views": 1}
    text = render(result=result)
    assert "on 360 images of the evaluation split, of the center." in text
    assert "not trained on" not in text
    assert "same content" not in text
    assert "center. Of these, 3 have the same content" in render(result=result, in_train=3)
    assert "center. Of these, 0 have the same content" in render(result=result, in_train=0)


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        ("digits", "CC BY 4.0"),
        ("folder:/some/where", "unknown; add it"),
        ("imagenette/320px-v2", "non-commercial"),
        ("mnist", "catalog/mnist"),
    ],
)
def test_license_of_each_dataset_is_named(dataset: str, part: str) -> None:
    assert part in license_of(dataset)


def test_front_matter_has_the_results_and_all_data() -> None:
    result = {"top1_error": 0.0805556, "top5_error": 0, "examples": 360, "views": 10}
    first = {"dataset": "imagenet2012", "weights_from": IMPORTED, "origin": None}
    second = {"dataset": "folder:/home/me/my: flowers", "weights_from": None, "origin": first}
    fields = front_matter(render(result=result, origin=second, format="onnx"))
    assert fields["library_name"] == "onnx"
    assert fields["tags"] == ["image-classification", "alexnet", "onnx"]
    assert fields["datasets"] == ["ILSVRC/imagenet-1k"]  # which has no digits of ours
    assert fields["metrics"] == ["accuracy"]
    (model,) = fields["model-index"]
    (measured,) = model["results"]
    assert model["name"] == "net"
    assert measured["task"] == {"type": "image-classification"}
    assert measured["dataset"] == {"name": "digits", "type": "digits"}
    assert [(metric["type"], metric["value"]) for metric in measured["metrics"]] == [
        ("accuracy", 0.9194), ("accuracy", 1),
    ]  # fmt: skip
    assert measured["metrics"][0]["name"] == "top-1 accuracy averaged over 10 views"
    assert "model-index" not in front_matter(render())


def test_errors_of_classes_are_listed_the_largest_first() -> None:
    result = {"top1_error": 0.1, "top5_error": 0, "examples": 30, "views": 1}
    assert "Errors by class" not in render(result=result)
    classes = [
        {"class": "a|b", "examples": 10, "top1_error": 0.1},
        {"class": "c", "examples": 20, "top1_error": 0.25},
        {"class": "d", "examples": 0, "top1_error": None},
    ]
    text = render(result=result | {"classes": classes})
    assert "|---:|\n| c | 20 | 25.00% |\n| a\\|b | 10 | 10.00% |\n\n## Run it" in text
    text = render(result=result | {"classes": 20 * classes})
    assert text.count("| c | 20 |") == 20
    assert "The other 20 classes are in the JSON file." in text
