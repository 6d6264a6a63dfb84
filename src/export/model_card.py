"""The model card that goes with an exported network."""

from pathlib import Path
from typing import Any, NamedTuple

CARD_NAME = "README.md"

LICENSES = {
    "digits": "CC BY 4.0 (Optical Recognition of Handwritten Digits, Alpaydin and Kaynak, UCI)",
    "imagenet2012": "ImageNet's terms of access: for non-commercial research and education",
    "imagenette": "a part of ImageNet, whose terms of access are for non-commercial research and "
    "education",
    "cifar10": "its authors state none (Krizhevsky, 2009)",
}


class Runtime(NamedTuple):
    """How a format is run elsewhere."""

    packages: tuple[str, ...]  # besides numpy and pillow
    imported: str
    network: str
    called: str


RUNTIMES = {
    "jax": Runtime(
        ("jax", "flatbuffers"),  # which JAX needs here and does not say so
        "from jax import export",
        'export.deserialize(bytearray(open(file, "rb").read()))',
        "network.call(pixels[None])",
    ),
    "savedmodel": Runtime(
        ("tensorflow",),
        "import tensorflow as tf",
        "tf.saved_model.load(file)",
        'network.probabilities(pixels[None])["probabilities"]',
    ),
    "onnx": Runtime(
        ("onnxruntime",),
        "import onnxruntime",
        "onnxruntime.InferenceSession(file)",
        'network.run(None, {"images": pixels[None]})[0]',
    ),
}


def example_script(file: str, form: str) -> str:
    """The program that shows what an exported network says of photo.jpg."""
    runtime = RUNTIMES[form]
    return f"""\
import json
import numpy as np
{runtime.imported}
from PIL import Image, ImageOps

file = {file!r}
network = {runtime.network}
about = json.load(open(f"{{file}}.json"))
size = about["input"]["shape"][1]
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
resample = Image.Resampling.BOX if min(photo.size) > size else Image.Resampling.BICUBIC
pixels = np.asarray(ImageOps.fit(photo, (size, size), resample))
probabilities = np.asarray({runtime.called})[0]
for i in np.argsort(-probabilities)[:5]:
    print(f"{{probabilities[i]:6.1%}}  {{about['class_names'][i]}}")
"""


def render_card(file: str, about: dict[str, Any]) -> str:
    """The card, in Markdown.

    Args:
      file: the exported network's name.
      about: what the JSON file beside it says: see `src.export`.
    """
    recipe, names = about["recipe"], about["class_names"]
    model, size = recipe["model"], about["input"]["shape"][1]
    dataset = recipe["data"]["dataset"]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    made_with = "".join(f"- {name}: {value}\n" for name, value in about["made_with"].items())
    return f"""\
# AlexNet for {_called(dataset)}

Tells {len(names)} classes of images apart: {shown}. A convolutional network after Krizhevsky,
Sutskever and Hinton (2012) with {about["parameters"]:,} parameters in {_towers(model["towers"])},
for {model["image_size"]} × {model["image_size"]} pixels.

## Results

{_results(about)}

## Run it

With {", ".join(RUNTIMES[about["format"]].packages)}, numpy and pillow, in this folder:

```python
{example_script(file, about["format"])}```

`images` are uint8 (N, {size}, {size}, 3), RGB: the short side scaled to {size}, the center kept.
What comes out are probabilities (N, {len(names)}), {_views(about["views"])}. The mean image is
subtracted inside. What the script says of a photograph comes close to what the program says that
exported the network, and is not the same: there images are scaled by OpenCV, and from 64 pixels on
encoded as JPEG, as in prepared data sets, and not by Pillow alone.

## Data

{_data(about)}

## Training

{_training(about)}

## Limits

It gives probabilities to its classes whatever an image shows, also where none fits, and they are
not calibrated. It is biased as its training images are. Look at its errors on images of your own
before anything depends on it.

## Made with

{made_with}- SHA-256 of the network: {about["sha256"]}
"""


def license_of(dataset: str) -> str:
    """What is known of a data set's license."""
    base = dataset.partition("/")[0].partition(":")[0]
    if base == "folder":
        return "not known here; to be added by whoever shares this network"
    if base not in LICENSES:
        return f"see https://www.tensorflow.org/datasets/catalog/{base}"
    return LICENSES[base]


def _called(dataset: str) -> str:
    kind, _, path = dataset.partition(":")
    return f"the images in a folder, {Path(path).name}" if kind == "folder" else dataset


def _towers(count: int) -> str:
    return f"{count} towers" if count > 1 else "one tower"


def _views(count: int) -> str:
    return f"the mean of {count} views" if count > 1 else "of the center"


def _results(about: dict[str, Any]) -> str:
    result = about["result"]
    if result is None:
        return "It was not evaluated."
    untrained = "" if about["weights_from"] else " that it was not trained on"
    return (
        f"Top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%}, on "
        f"{result['examples']:,} images{untrained}, {_views(result['views'])}."
    )


def _data(about: dict[str, Any]) -> str:
    dataset, origin = about["recipe"]["data"]["dataset"], about["origin"]
    said = [f"{_called(dataset)}. License: {license_of(dataset)}."]
    while origin:
        dataset, origin = origin["dataset"], origin["origin"]
        said.append(f"Before that, {_called(dataset)}. License: {license_of(dataset)}.")
    return "\n\n".join(said)


def _training(about: dict[str, Any]) -> str:
    if about["weights_from"]:
        return f"The weights are others': {_file(about['weights_from'])}."
    recipe, step = about["recipe"], about["step"]
    optimizer, schedule = recipe["optimizer"], recipe["schedule"]
    began = f", from {_beginning(about['origin'])}" if recipe.get("init_from") else ""
    return (
        f"{step:,} steps of {recipe['batch_size']} images{began}: momentum "
        f"{optimizer['momentum']}, weight decay {optimizer['weight_decay']}, a learning rate of "
        f"{schedule['learning_rate']} by the schedule `{schedule['name']}`, seed "
        f"{recipe['seed']}. All settings are in the JSON file."
    )


def _beginning(origin: dict[str, Any] | None) -> str:
    """The weights that a network was trained on from."""
    if origin is None:
        return "weights of another network, of which no more is known"
    if origin["weights_from"]:
        return f"others' weights, {_file(origin['weights_from'])}"
    weights = f"the weights of a network for {_called(origin['dataset'])}"
    before = origin["origin"]
    return f"{weights}, which began with {_beginning(before)}" if before else weights


def _file(provenance: dict[str, str]) -> str:
    return f"{provenance['kind']}, `{provenance['file']}` (SHA-256 {provenance['sha256']})"
