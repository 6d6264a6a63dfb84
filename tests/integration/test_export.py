"""Exported networks, run without this project's code, compared with their checkpoints."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest
from ml_collections import ConfigDict
from packaging.requirements import Requirement
from PIL import Image

from configs import cifar
from src.cli.app import run_command
from src.errors import UserError
from src.export import __main__ as command
from src.export.exporting import export_network
from src.export.model_card import example_script
from src.inference.classifier import Classifier, load
from src.training.validation import validate_config
from tests.support import format1, miniature, tiny
from tests.support.commands import ROOT
from tests.support.runs import untrained

TRAINED = format1.WORKDIR
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 73, 73, 3), dtype=np.uint8)


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
def workdirs(cache: Path) -> dict[str, Path]:
    """A trained run of two towers, and two runs that have only their initial weights."""
    workdirs = {"two_towers": TRAINED}
    for recipe in (one_tower, for_cifar):
        config = recipe()
        config.data.root = str(cache / "prepared")
        validate_config(config)
        workdirs[recipe.__name__] = untrained(config, cache / "export" / recipe.__name__)
    return workdirs


@pytest.fixture(scope="module")
def classifiers(workdirs: dict[str, Path]) -> dict[str, Classifier]:
    return {name: on_one_device(workdir) for name, workdir in workdirs.items()}


def on_one_device(workdir: Path) -> Classifier:
    return load(workdir, mesh=miniature.mesh(1, 1))


def images_for(classifier: Classifier) -> np.ndarray:
    size = classifier.config.data.size
    return IMAGES[:, :size, :size]


@pytest.mark.parametrize("views", [1, None, 10])
@pytest.mark.parametrize("name", ["two_towers", "one_tower", "for_cifar"])
def test_exported_network_matches_its_checkpoint(
    workdirs: dict[str, Path],
    classifiers: dict[str, Classifier],
    tmp_path: Path,
    name: str,
    views: int | None,
) -> None:
    export_network(workdirs[name], tmp_path / "network", "jax", "newest", views)
    exported = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    assert exported.platforms == ("cpu", "cuda")
    assert exported.nr_devices == 1
    targets = set(re.findall(r"stablehlo\.custom_call @(\w+)", exported.mlir_module()))
    assert targets <= {"shape_assertion"}  # other calls run on one platform only
    images = images_for(classifiers[name])
    expected = classifiers[name](images, views)
    np.testing.assert_allclose(exported.call(images), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(exported.call(images[:1]), expected[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["savedmodel", "onnx"])
def test_other_formats_match_the_checkpoint(
    workdirs: dict[str, Path], classifiers: dict[str, Classifier], tmp_path: Path, form: str
) -> None:
    pytest.importorskip({"savedmodel": "tensorflow", "onnx": "jax2onnx"}[form])
    output = {
        "savedmodel": "network.signatures['serving_default'](images=images)['probabilities']",
        "onnx": "network.run(['probabilities'], {'images': images})[0]",
    }[form]
    program = "import os\n"
    for name, classifier in classifiers.items():
        out = tmp_path / name
        export_network(workdirs[name], out / "network", form, "newest", None)
        images = images_for(classifier)
        np.save(out / "images.npy", images)
        Image.fromarray(images[0]).save(out / "photo.jpg", format="png")
        program += f"""os.chdir({str(out)!r})
{example_script("network", form)}
images = np.load("images.npy")
np.savez("out.npz", photo=probabilities, images={output})
"""
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
    for name, classifier in classifiers.items():
        with np.load(tmp_path / name / "out.npz") as out:
            expected = classifier(images_for(classifier))
            np.testing.assert_allclose(out["images"], expected, atol=1e-5, rtol=0, err_msg=name)
            np.testing.assert_allclose(out["photo"], expected[0], atol=1e-5, rtol=0, err_msg=name)


def test_onnx_file_includes_its_weights(cache: Path, tmp_path: Path) -> None:
    """By default, jax2onnx writes weights of a megabyte or more to a second file."""
    pytest.importorskip("jax2onnx")
    config = one_tower()
    config.data.root = str(cache / "prepared")
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
def exported(cache: Path) -> Path:
    """The command's output, with a name that needs quotes in Python."""
    out = cache / "exported" / """a"{b}'.jax"""
    argv = [f"--workdir={TRAINED}", f"--out={out}"]
    assert run_command(command.main, command.FLAGS, command.__doc__, argv) == 0
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
    exported: Path, source: str, tmp_path: Path
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
    classifier = on_one_device(TRAINED)
    pixels = np.asarray(Image.open(exported.with_name("photo.jpg")))
    (expected,) = classifier(pixels[None])
    lines = [line.split() for line in done.stdout.splitlines()]
    order = np.argsort(-expected)[:5]
    assert [name for _, name in lines] == [classifier.class_names[i] for i in order]
    assert [shown for shown, _ in lines] == [f"{expected[i]:.1%}" for i in order]


def test_metadata_and_model_card_describe_the_run(exported: Path) -> None:
    metadata = json.loads(exported.with_name(f"{exported.name}.json").read_text())
    result = json.loads((TRAINED / "result.json").read_text())
    assert metadata["class_names"] == [str(digit) for digit in range(10)]
    assert metadata["input"]["shape"] == ["batch", 73, 73, 3]
    assert metadata["result"]["top1_error"] == result["top1_error"]
    assert metadata["recipe"]["batch_size"] == 32
    assert metadata["sha256"] == hashlib.sha256(exported.read_bytes()).hexdigest()
    text = exported.with_name("README.md").read_text()
    for part in (f"{result['top1_error']:.2%}", "360 images", "CC BY 4.0", "2 towers", "8 steps"):
        assert part in text
    assert sorted(path.name for path in exported.parent.iterdir() if path.suffix != ".jpg") == [
        "README.md",
        exported.name,
        f"{exported.name}.json",
    ]


@pytest.mark.parametrize("name", ["README.md", "net.json", "other.jax"])
def test_directory_with_files_is_not_changed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"already has '{name}'"):
        export_network(TRAINED, tmp_path / "net", "jax", "newest", None)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        export_network(TRAINED, Path(out), "jax", "newest", None)


def test_export_without_a_run_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        export_network(tmp_path / "nowhere", tmp_path / "out" / "net", "jax", "newest", None)
    assert not list(tmp_path.iterdir())
