"""What the model card says about a network, its training and its data."""

from typing import Any

import pytest

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
    return render_model_card("net", defaults | metadata)


IMPORTED = {"kind": "torchvision's AlexNet", "file": "alexnet.pth", "sha256": "7be5"}


def test_model_card_names_all_training_data() -> None:
    first = {"dataset": "imagenet2012", "weights_from": IMPORTED, "origin": None}
    second = {"dataset": "folder:/home/me/flowers", "weights_from": None, "origin": first}
    text = render(init_from="/home/me/runs/flowers", origin=second)
    for part in (
        "CC BY 4.0",
        "in the folder flowers. License: unknown",
        "ImageNet's terms of access",
    ):
        assert part in text
    assert (
        "starting from the weights of a network for the images in the folder flowers, which started"
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
