"""Exported networks, run without this project's code, compared with their checkpoints."""

import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
import pytest
from ml_collections import ConfigDict
from packaging.requirements import Requirement
from PIL import Image

from configs import cifar
from src.errors import UserError
from src.export.exporting import export_network
from src.export.model_card import example_script, license_of, render_model_card
from src.inference.classifier import Classifier, load
from src.models.factory import parameter_counts
from src.models.presets import PAPER
from src.training.validation import validate_config
from tests.support import miniature, tiny
from tests.support.commands import ROOT, run
from tests.support.published import grouped_shapes
from tests.support.runs import trained, untrained

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 73, 73, 3), dtype=np.uint8)


def two_towers() -> ConfigDict:
    return tiny.get_config()


def one_tower() -> ConfigDict:
    config = tiny.get_config()
    config.model.towers = 1
    config.augment.mean = "center"
    return config


def for_cifar() -> ConfigDict:
    """Nine views, response normalization, locally connected layers."""
    config = cifar.get_config("conv-local-11pct", "digits")
    for name in config.model.convs:
        config.model.convs[name].maps = 8
    return config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module", params=[two_towers, one_tower, for_cifar])
def workdir(request: pytest.FixtureRequest, root: Path) -> Path:
    config = request.param()
    config.data.root = str(root / "prepared")
    validate_config(config)
    return untrained(config, root / request.param.__name__)


def on_one_device(workdir: Path) -> Classifier:
    return load(workdir, mesh=miniature.mesh(1, 1))


def images_for(classifier: Classifier) -> np.ndarray:
    size = classifier.config.data.size
    return IMAGES[:, :size, :size]


@pytest.mark.parametrize("views", [1, None, 10])
def test_exported_network_matches_its_checkpoint(
    workdir: Path, tmp_path: Path, views: int | None
) -> None:
    export_network(workdir, tmp_path / "network", "jax", "newest", views)
    exported = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    assert exported.platforms == ("cpu", "cuda")
    assert exported.nr_devices == 1
    targets = set(re.findall(r"stablehlo\.custom_call @(\w+)", exported.mlir_module()))
    assert targets <= {"shape_assertion"}  # other calls run on one platform only
    classifier = on_one_device(workdir)
    images = images_for(classifier)
    expected = classifier(images, views)
    np.testing.assert_allclose(exported.call(images), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(exported.call(images[:1]), expected[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["savedmodel", "onnx"])
def test_other_formats_match_the_checkpoint(workdir: Path, tmp_path: Path, form: str) -> None:
    pytest.importorskip({"savedmodel": "tensorflow", "onnx": "jax2onnx"}[form])
    export_network(workdir, tmp_path / "network", form, "newest", None)
    classifier = on_one_device(workdir)
    images = images_for(classifier)
    np.save(tmp_path / "images.npy", images)
    Image.fromarray(images[0]).save(tmp_path / "photo.jpg", format="png")
    output = {
        "savedmodel": "network.signatures['serving_default'](images=images)['probabilities']",
        "onnx": "network.run(['probabilities'], {'images': images})[0]",
    }[form]
    program = f"""{example_script("network", form)}
images = np.load("images.npy")
np.savez("out.npz", photo=probabilities, images={output})
"""
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)
    with np.load(tmp_path / "out.npz") as out:
        expected = classifier(images)
        np.testing.assert_allclose(out["images"], expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(out["photo"], expected[0], atol=1e-5, rtol=0)


def test_onnx_file_includes_its_weights(root: Path, tmp_path: Path) -> None:
    """By default, jax2onnx writes weights of a megabyte or more to a second file."""
    pytest.importorskip("jax2onnx")
    config = one_tower()
    config.data.root = str(root / "prepared")
    config.model.dense.fc6.units = 40_000
    workdir = untrained(config, tmp_path / "run")
    export_network(workdir, tmp_path / "out" / "net.onnx", "onnx", "newest", 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "net.onnx",
        "net.onnx.json",
    ]
    program = "import onnxruntime; onnxruntime.InferenceSession('moved.onnx')"
    (tmp_path / "out" / "net.onnx").rename(tmp_path / "moved.onnx")
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)


@pytest.fixture(scope="module")
def finished(root: Path) -> Path:
    config = two_towers()
    config.data.root = str(root / "prepared")
    config.duration = "2 steps"
    return trained(config, root / "command")


@pytest.fixture(scope="module")
def exported(root: Path, finished: Path) -> Path:
    """The command's output, with a name that needs quotes in Python."""
    out = root / "out" / """a"{b}'.jax"""
    done = run("src.export", f"--workdir={finished}", f"--out={out}", cache=root)
    assert done.returncode == 0, done.stderr
    return out


def requirements(package: str) -> Iterator[str]:
    """A package and all its declared dependencies."""
    yield package
    for requirement in map(Requirement, distribution(package).requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from requirements(requirement.name)


def with_only(packages: list[str], directory: Path) -> str:
    """The first line of a program that can import only these packages and their dependencies."""
    for name in {name for package in packages for name in requirements(package)}:
        package = distribution(name)
        for part in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            (directory / part).unlink(missing_ok=True)
            (directory / part).symlink_to(Path(str(package.locate_file(part))))
    return f"import sys; sys.path.append({str(directory)!r})\n"


@pytest.mark.parametrize("source", ["model card", "docs"])
def test_example_script_runs_with_only_the_named_packages(
    exported: Path, finished: Path, source: str, tmp_path: Path
) -> None:
    text = {"model card": exported.with_name("README.md"), "docs": ROOT / "docs/export.md"}[source]
    ((names, last, program),) = re.findall(
        r"With (jax[\w, ]*) and (\w+),[^`]*(?:`exported`)?:\n\n```python\n(.*?)```",
        text.read_text(),
        re.DOTALL,
    )
    program = program.replace('"alexnet.jax"', repr(exported.name))
    Image.fromarray(IMAGES[0]).save(exported.with_name("photo.jpg"), quality=100, subsampling=0)
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            with_only([*names.split(", "), last], tmp_path) + program,
        ],
        cwd=exported.parent,
        capture_output=True,
        text=True,
        env={"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    classifier = on_one_device(finished)
    pixels = np.asarray(Image.open(exported.with_name("photo.jpg")))
    (expected,) = classifier(pixels[None])
    lines = [line.split() for line in done.stdout.splitlines()]
    order = np.argsort(-expected)[:5]
    assert [name for _, name in lines] == [classifier.class_names[i] for i in order]
    assert [shown for shown, _ in lines] == [f"{expected[i]:.1%}" for i in order]


def test_metadata_and_model_card_describe_the_run(exported: Path, finished: Path) -> None:
    metadata = json.loads(exported.with_name(f"{exported.name}.json").read_text())
    result = json.loads((finished / "result.json").read_text())
    assert metadata["class_names"] == [str(digit) for digit in range(10)]
    assert metadata["input"]["shape"] == ["batch", 73, 73, 3]
    assert metadata["result"]["top1_error"] == result["top1_error"]
    assert metadata["recipe"]["batch_size"] == 32
    assert metadata["sha256"] == hashlib.sha256(exported.read_bytes()).hexdigest()
    text = exported.with_name("README.md").read_text()
    for part in (f"{result['top1_error']:.2%}", "360 images", "CC BY 4.0", "2 towers", "2 steps"):
        assert part in text
    assert sorted(path.name for path in exported.parent.iterdir() if path.suffix != ".jpg") == [
        "README.md",
        exported.name,
        f"{exported.name}.json",
    ]


@pytest.mark.parametrize("name", ["README.md", "net.json", "other.jax"])
def test_directory_with_files_is_not_changed(finished: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"already has '{name}'"):
        export_network(finished, tmp_path / "net", "jax", "newest", None)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("/", "does not name a file"),
        (".", "does not name a file"),
        ("", "does not name a file"),
        ("new/..", "does not name a file"),
        ("new/README.md", "does not name a file"),
        ("file/net.jax", "File exists"),
        ("file/deeper/net.jax", "Not a directory"),
        (f"new/{'n' * 255}", "File name too long"),
    ],
)
def test_invalid_output_is_rejected(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        export_network(finished, Path(out), "jax", "newest", None)


def test_export_without_a_run_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        export_network(tmp_path / "nowhere", tmp_path / "out" / "net", "jax", "newest", None)
    assert not list(tmp_path.iterdir())


def test_parameter_counts_exclude_padded_outputs() -> None:
    architecture = miniature.shrunk(PAPER)
    layers = grouped_shapes(architecture, miniature.NUM_CLASSES)
    assert parameter_counts(architecture, miniature.NUM_CLASSES) == {
        name: math.prod(shape) + shape[0] for name, shape in layers.items()
    }


def render(**metadata: Any) -> str:
    """The model card for this metadata, with defaults for the other fields."""
    recipe = ConfigDict(two_towers())
    recipe.init_from = metadata.pop("init_from", "")
    defaults = {
        "format": "jax",
        "input": {"shape": ["batch", 73, 73, 3]},
        "views": 1,
        "class_names": ["a"],
        "parameters": 1,
        "step": 2,
        "result": None,
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
