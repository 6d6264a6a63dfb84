"""The model card of an exported network, with the front matter that Hugging Face reads."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..data.sources import dataset_name
from ..errors import list_names

MODEL_CARD = "README.md"

LICENSES = {
    "digits": "CC BY 4.0 (Optical Recognition of Handwritten Digits, Alpaydin and Kaynak, UCI)",
    "synthetic": "none: random images of this project",
    "imagenet2012": "ImageNet's terms of access: for non-commercial research and education",
    "imagenette": "a part of ImageNet, whose terms of access are for non-commercial research and "
    "education",
    "cifar10": "its authors state none (Krizhevsky, 2009)",
}

HUB_NAMES = {  # of data sets whose names there are not those of TFDS
    "imagenet2012": "ILSVRC/imagenet-1k",
    "imagenette": "frgfm/imagenette",
    "cifar10": "uoft-cs/cifar10",
}
OWN_NAMES = ("digits", "synthetic")  # of data sets that are not there
FOLDER = "imagefolder"  # Hugging Face's name of the format
MAX_CLASSES = 20  # in the table of errors

LIMITS = """\
The network assigns probabilities to its classes for every image, even if no class fits. They are
not calibrated. The network has the biases of its training images. Check its errors on your own
images before anything depends on it."""


class Runtime(NamedTuple):
    """How to run a format elsewhere: what to install, and expressions of a Python script."""

    library: str  # as Hugging Face calls it
    packages: tuple[str, ...]  # besides numpy and pillow
    import_line: str
    network: str
    output: str


RUNTIMES = {
    "jax": Runtime(
        "jax",
        ("jax", "flatbuffers"),  # JAX needs it here but does not declare it
        "from jax import export",
        'export.deserialize(bytearray(open(file, "rb").read()))',
        "network.call(pixels[None])",
    ),
    "savedmodel": Runtime(
        "tensorflow",
        ("tensorflow",),
        "import tensorflow as tf",
        "tf.saved_model.load(file)",
        'network.probabilities(pixels[None])["probabilities"]',
    ),
    "onnx": Runtime(
        "onnx",
        ("onnxruntime",),
        "import onnxruntime",
        "onnxruntime.InferenceSession(file)",
        'network.run(None, {"images": pixels[None]})[0]',
    ),
}


def example_script(file: str, form: str) -> str:
    """A script that prints an exported network's predictions for photo.jpg."""
    runtime = RUNTIMES[form]
    return f"""\
import json
import numpy as np
{runtime.import_line}
from PIL import Image, ImageOps

file = {file!r}
network = {runtime.network}
about = json.load(open(f"{{file}}.json"))
size = about["input"]["shape"][1]
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
resample = Image.Resampling.BOX if min(photo.size) > size else Image.Resampling.BICUBIC
pixels = np.asarray(ImageOps.fit(photo, (size, size), resample))
probabilities = np.asarray({runtime.output})[0]
for i in np.argsort(-probabilities)[:5]:
    print(f"{{probabilities[i]:6.1%}}  {{about['class_names'][i]}}")
"""


def render_model_card(file: str, metadata: dict[str, Any]) -> str:
    """The model card of an exported file, in Markdown, from the metadata in the file beside it."""
    made_with = metadata["made_with"] | {"SHA-256 of the network": metadata["sha256"]}
    sections = {
        "# AlexNet for " + _images_of(metadata["recipe"]["data"]["dataset"]): _summary(metadata),
        "## Results": _results(metadata),
        **_class_errors(metadata["result"]),
        "## Run it": _usage(file, metadata),
        "## Data": _data(metadata),
        "## Training": _training(metadata),
        "## Limits": LIMITS,
        "## Made with": "\n".join(f"- {name}: {value}" for name, value in made_with.items()),
    }
    card = "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items())
    return f"{_front_matter(file, metadata)}\n{card}\n"


def _front_matter(file: str, metadata: dict[str, Any]) -> str:
    """Fields in YAML, of which JSON is a part."""
    library, result = RUNTIMES[metadata["format"]].library, metadata["result"]
    names = [_hub_name(dataset) for dataset in _datasets(metadata)]
    fields: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "alexnet", library],
        "datasets": [name for name in names if name not in (FOLDER, *OWN_NAMES)],
        "metrics": ["accuracy"],
    }
    if result:
        views = _views(result["views"])
        measured = {
            "task": {"type": "image-classification"},
            "dataset": {"name": _images_of(_datasets(metadata)[0]), "type": names[0]},
            "metrics": [
                {"type": "accuracy", "name": f"top-{k} accuracy {views}", "value": round(value, 4)}
                for k, value in ((1, 1 - result["top1_error"]), (5, 1 - result["top5_error"]))
            ],
        }
        fields["model-index"] = [{"name": Path(file).stem, "results": [measured]}]
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    return "\n".join(["---", *lines, "---", ""])


def _hub_name(dataset: str) -> str:
    base = dataset.partition("/")[0].partition(":")[0]
    return FOLDER if base == "folder" else HUB_NAMES.get(base, base)


def _summary(metadata: dict[str, Any]) -> str:
    model, names = metadata["recipe"]["model"], metadata["class_names"]
    crop, towers, listed = model["image_size"], model["towers"], list_names(names, 20)
    return f"""\
A network that classifies images into {len(names)} classes: {listed}. It is a convolutional network
after Krizhevsky, Sutskever and Hinton (2012) with {metadata["parameters"]:,} parameters in
{f"{towers} towers" if towers > 1 else "one tower"}, for {crop} × {crop} pixels."""


def _usage(file: str, metadata: dict[str, Any]) -> str:
    size, num_classes = metadata["input"]["shape"][1], len(metadata["class_names"])
    return f"""\
With {", ".join(RUNTIMES[metadata["format"]].packages)}, numpy and pillow, run this
script in the directory of this file:

```python
{example_script(file, metadata["format"])}```

The input `images` is uint8 (N, {size}, {size}, 3), RGB: the short side scaled to {size}, the
center kept. The output is probabilities (N, {num_classes}), {_views(metadata["views"])}.
The network subtracts the mean image itself. For a photograph, this script's probabilities are close
to those of the program that exported the network, but not equal. That program scales images with
OpenCV and encodes those of 64 pixels and more as JPEG, like its prepared data sets. This script
scales with Pillow alone."""


def license_of(dataset: str) -> str:
    """The license of a data set, or where to look for it."""
    base = dataset.partition("/")[0].partition(":")[0]
    if base == "folder":
        return "unknown; add it before you share this network"
    return LICENSES.get(base, f"see https://www.tensorflow.org/datasets/catalog/{base}")


def _images_of(dataset: str) -> str:
    name = dataset_name(dataset)
    return name if name == dataset else f"images in the directory {name}"


def _views(count: int) -> str:
    return f"averaged over {count} views" if count > 1 else "of the center"


def _results(metadata: dict[str, Any]) -> str:
    result = metadata["result"]
    if result is None:
        return "The network was not evaluated."
    split = "" if metadata["weights_from"] else " of the evaluation split"
    in_train, overlap = metadata["in_train"], ""
    if in_train is not None:
        overlap = f" Of these, {in_train:,} have the same content as training images."
    return (
        f"Top-1 error {result['top1_error']:.2%}, top-5 error {result['top5_error']:.2%}, on "
        f"{result['examples']:,} images{split}, {_views(result['views'])}.{overlap}"
    )


def _class_errors(result: dict[str, Any] | None) -> dict[str, str]:
    """A section with a table of the classes, if an evaluation counted them."""
    rows = [row for row in (result or {}).get("classes", []) if row["examples"]]
    rows = sorted(rows, key=lambda row: -row["top1_error"])
    if not rows:
        return {}
    table = ["| class | images | top-1 error |", "|---|---:|---:|"]
    for row in rows[:MAX_CLASSES]:
        name = re.sub(r"([|<>`*_\[\]\\])", r"\\\1", row["class"])
        table.append(f"| {name} | {row['examples']:,} | {row['top1_error']:.2%} |")
    rest = len(rows) - MAX_CLASSES
    note = f"\n\nThe other {rest:,} classes are in the JSON file." if rest > 0 else ""
    return {"## Errors by class": "\n".join(table) + note}


def _datasets(metadata: dict[str, Any]) -> list[str]:
    """All training data, that of the weights that training started from last."""
    names, origin = [metadata["recipe"]["data"]["dataset"]], metadata["origin"]
    while origin:
        names.append(origin["dataset"])
        origin = origin["origin"]
    return names


def _data(metadata: dict[str, Any]) -> str:
    return "\n\nBefore that, ".join(
        f"{_images_of(dataset)}. License: {license_of(dataset)}." for dataset in _datasets(metadata)
    )


def _training(metadata: dict[str, Any]) -> str:
    if metadata["weights_from"]:
        return f"The weights are imported: {_source(metadata['weights_from'])}."
    recipe = metadata["recipe"]
    optimizer, schedule = recipe["optimizer"], recipe["schedule"]
    start = f", starting from {_start(metadata['origin'])}" if recipe.get("init_from") else ""
    return (
        f"{metadata['step']:,} steps with a global batch of {recipe['batch_size']} images{start}. "
        f"Momentum {optimizer['momentum']}, weight decay {optimizer['weight_decay']}, learning "
        f"rate {schedule['learning_rate']} with the schedule `{schedule['name']}`, seed "
        f"{recipe['seed']}. The JSON file has all settings."
    )


def _start(origin: dict[str, Any] | None) -> str:
    if origin is None:
        return "the weights of another network, about which nothing more is known"
    if origin["weights_from"]:
        return f"imported weights, {_source(origin['weights_from'])}"
    earlier = f", which started from {_start(origin['origin'])}" if origin["origin"] else ""
    return f"the weights of a network for {_images_of(origin['dataset'])}{earlier}"


def _source(provenance: dict[str, str]) -> str:
    return f"{provenance['kind']}, `{provenance['file']}` (SHA-256 {provenance['sha256']})"
