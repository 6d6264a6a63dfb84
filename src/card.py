"""The model card that goes with an exported network."""

from pathlib import Path
from typing import Any, NamedTuple

NAME = "README.md"
MARK = "<!-- A model card, written by src.export. -->"

LICENCES = {
    "digits": "CC BY 4.0 (Optical Recognition of Handwritten Digits, Alpaydin and Kaynak, UCI)",
    "imagenet2012": "ImageNet's terms of access: for non-commercial research and education",
    "imagenette": "a part of ImageNet, whose terms of access are for non-commercial research and "
    "education",
    "cifar10": "its authors state none (Krizhevsky, 2009)",
}


class Runtime(NamedTuple):
    """How a format is run elsewhere."""

    package: str
    imported: str
    network: str
    called: str


RUNTIMES = {
    "jax": Runtime(
        "jax",
        "from jax import export",
        'export.deserialize(bytearray(open("{file}", "rb").read()))',
        "network.call(pixels[None])",
    ),
    "savedmodel": Runtime(
        "tensorflow",
        "import tensorflow as tf",
        'tf.saved_model.load("{file}")',
        'network.probabilities(pixels[None])["probabilities"]',
    ),
    "onnx": Runtime(
        "onnxruntime",
        "import onnxruntime",
        'onnxruntime.InferenceSession("{file}")',
        'network.run(None, {{"images": pixels[None]}})[0]',
    ),
}


def script(file: str, form: str) -> str:
    """The program that shows what an exported network says of photo.jpg."""
    runtime = RUNTIMES[form]
    return f"""\
import json
import numpy as np
{runtime.imported}
from PIL import Image, ImageOps

network = {runtime.network.format(file=file)}
about = json.load(open("{file}.json"))
size = about["input"]["shape"][1]
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
resample = Image.Resampling.BOX if min(photo.size) > size else Image.Resampling.BICUBIC
pixels = np.asarray(ImageOps.fit(photo, (size, size), resample))
probabilities = np.asarray({runtime.called.format()})[0]
for i in np.argsort(-probabilities)[:5]:
    print(f"{{probabilities[i]:6.1%}}  {{about['class_names'][i]}}")
"""


def may_be_written(folder: Path) -> bool:
    """Whether the folder has no other README.md than a card."""
    path = folder / NAME
    return not path.exists() or path.read_text(errors="replace").startswith(MARK)


def render(file: str, about: dict[str, Any]) -> str:
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
{MARK}

# AlexNet for {_called(dataset)}

Tells {len(names)} classes of images apart: {shown}. A convolutional network after Krizhevsky,
Sutskever and Hinton (2012) with {about["parameters"]:,} parameters in {_towers(model["towers"])},
for {model["image_size"]} × {model["image_size"]} pixels.

## Results

{_results(about)}

## Run it

With {RUNTIMES[about["format"]].package}, numpy and pillow, in this folder:

```python
{script(file, about["format"])}```

`images` are uint8 (N, {size}, {size}, 3), RGB: the short side scaled to {size}, the centre kept.
What comes out are probabilities (N, {len(names)}), {_views(about["views"])}. The mean image is
subtracted inside. The training images were scaled by OpenCV, by areas; Pillow's box filter
is close to it, and the probabilities to those that they would be.

## Data

{_called(dataset)}. Licence: {licence(dataset)}.

## Training

{_training(about)}

## Limits

It gives probabilities to its classes whatever an image shows, also where none fits, and they are
not calibrated. It is biased as its training images are. Look at its errors on images of your own
before anything depends on it.

## Made with

{made_with}- SHA-256 of `{file}`: {about["sha256"]}
"""


def licence(dataset: str) -> str:
    """What is known of a data set's licence."""
    base = dataset.partition("/")[0].partition(":")[0]
    if base == "folder":
        return "not known here; to be added by whoever shares this network"
    if base not in LICENCES:
        return f"see https://www.tensorflow.org/datasets/catalog/{base}"
    return LICENCES[base]


def _called(dataset: str) -> str:
    kind, _, path = dataset.partition(":")
    return f"the images in a folder, {Path(path).name}" if kind == "folder" else dataset


def _towers(count: int) -> str:
    return f"{count} towers" if count > 1 else "one tower"


def _views(count: int) -> str:
    return f"the mean of {count} views" if count > 1 else "of the centre"


def _results(about: dict[str, Any]) -> str:
    result = about["result"]
    if result is None:
        return "It was not evaluated."
    return (
        f"Top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%}, on "
        f"{result['examples']:,} images that it was not trained on, {_views(result['views'])}."
    )


def _training(about: dict[str, Any]) -> str:
    recipe, step = about["recipe"], about["step"]
    if source := about["weights_from"]:
        return f"The weights are others': {source['kind']}, `{source['file']}`."
    began = f" from the weights in `{recipe['init_from']}`" if recipe.get("init_from") else ""
    optimizer, schedule = recipe["optimizer"], recipe["schedule"]
    return (
        f"{step:,} steps of {recipe['batch_size']} images{began}: momentum {optimizer['decay']}, "
        f"weight decay {optimizer['weight_decay']}, a learning rate of {schedule['rate']} by the "
        f"schedule `{schedule['name']}`, seed {recipe['seed']}. All settings are in the JSON file."
    )
