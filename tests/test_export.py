"""Exported networks against the checkpoints that they were made of, without this project's code."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import tiny
from commands import ROOT, run
from configs import cifar
from runs import untrained
from src import card, settings
from src.classifier import Classifier, load
from src.errors import UserError
from src.export import _count, export
from src.models.presets import PAPER
from src.place import place
from src.processes import Team
from src.train import train
from src.weights import layout
from tests import miniature

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 73, 73, 3), dtype=np.uint8)


def two_towers() -> ConfigDict:
    return tiny.get_config()


def one_tower() -> ConfigDict:
    config = tiny.get_config()
    config.model.towers = 1
    config.augment.mean = "centre"
    return config


def for_cifar() -> ConfigDict:
    """Nine views, response normalisation, layers whose places have kernels of their own."""
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
    settings.check(config)
    return untrained(config, root / request.param.__name__)


def on_one_device(workdir: Path) -> Classifier:
    return load(workdir, mesh=miniature.mesh(1, 1))


def images_for(classifier: Classifier) -> np.ndarray:
    size = classifier.config.data.size
    return IMAGES[:, :size, :size]


@pytest.mark.parametrize("views", [1, None, 10])
def test_the_exported_network_gives_the_checkpoints_probabilities(
    workdir: Path, tmp_path: Path, views: int | None
) -> None:
    export(workdir, tmp_path / "network", "jax", "newest", views)
    exported = jax.export.deserialize(bytearray((tmp_path / "network").read_bytes()))
    assert exported.platforms == ("cpu", "cuda")
    assert exported.nr_devices == 1
    targets = set(re.findall(r"stablehlo\.custom_call @(\w+)", exported.mlir_module()))
    assert targets <= {"shape_assertion"}  # others would be one platform's
    classifier = on_one_device(workdir)
    images = images_for(classifier)
    expected = classifier(images, views)
    np.testing.assert_allclose(exported.call(images), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(exported.call(images[:1]), expected[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["savedmodel", "onnx"])
def test_other_formats_give_the_same(workdir: Path, tmp_path: Path, form: str) -> None:
    pytest.importorskip({"savedmodel": "tensorflow", "onnx": "jax2onnx"}[form])
    export(workdir, tmp_path / "network", form, "newest", None)
    classifier = on_one_device(workdir)
    images = images_for(classifier)
    np.savez(tmp_path / "images.npz", images=images)
    call = {
        "savedmodel": "import tensorflow as tf; network = tf.saved_model.load('network'); "
        "out = network.signatures['serving_default'](images=tf.constant(images))['probabilities']",
        "onnx": "import onnxruntime; network = onnxruntime.InferenceSession('network'); "
        "out = network.run(['probabilities'], {'images': images})[0]",
    }[form]
    program = (
        f"import numpy as np; images = np.load('images.npz')['images']; {call}; "
        "np.save('out.npy', np.asarray(out))"
    )
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), classifier(images), atol=1e-5, rtol=0)


def test_an_onnx_file_has_its_weights_inside(root: Path, tmp_path: Path) -> None:
    """Also those of a size that jax2onnx would put beside it, of a megabyte and more."""
    pytest.importorskip("jax2onnx")
    config = one_tower()
    config.data.root = str(root / "prepared")
    config.model.dense.fc6.units = 40_000
    workdir = untrained(config, tmp_path / "run")
    export(workdir, tmp_path / "out" / "net.onnx", "onnx", "newest", 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "net.onnx",
        "net.onnx.json",
    ]
    program = "import onnxruntime; onnxruntime.InferenceSession('moved.onnx')"
    (tmp_path / "out" / "net.onnx").rename(tmp_path / "moved.onnx")
    subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, check=True)


@pytest.fixture(scope="module")
def exported(root: Path) -> Path:
    """What the command writes of a run that was trained before."""
    config = two_towers()
    config.data.root = str(root / "prepared")
    config.duration = "2 steps"
    assert train(config, root / "command", Team(place({}), **config.processes)) == 0
    done = run(
        "src.export", f"--workdir={root / 'command'}", f"--out={root}/out/net.jax", cache=root
    )
    assert done.returncode == 0, done.stderr
    return root / "out"


@pytest.mark.parametrize("source", ["card", "README"])
def test_the_script_runs_without_this_project(
    exported: Path, root: Path, source: str, tmp_path: Path
) -> None:
    text = {"card": exported / "README.md", "README": ROOT / "README.md"}[source].read_text()
    (program,) = re.findall(r"```python\n(import json\nimport numpy.*?)```", text, re.DOTALL)
    program = program.replace("alexnet.jax", "net.jax")
    Image.fromarray(IMAGES[0]).save(exported / "photo.jpg", quality=100, subsampling=0)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=exported,
        capture_output=True,
        text=True,
        env={"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    classifier = on_one_device(root / "command")
    pixels = np.asarray(Image.open(exported / "photo.jpg"))
    (expected,) = classifier(pixels[None])
    lines = [line.split() for line in done.stdout.splitlines()]
    order = np.argsort(-expected)[:5]
    assert [name for _, name in lines] == [classifier.class_names[i] for i in order]
    assert [shown for shown, _ in lines] == [f"{expected[i]:.1%}" for i in order]


def test_what_is_beside_it(exported: Path, root: Path) -> None:
    about = json.loads((exported / "net.jax.json").read_text())
    result = json.loads((root / "command" / "result.json").read_text())
    assert about["class_names"] == [str(digit) for digit in range(10)]
    assert about["input"]["shape"] == ["batch", 73, 73, 3]
    assert about["result"]["top1_error"] == result["top1_error"]
    assert about["recipe"]["batch_size"] == 32
    text = (exported / "README.md").read_text()
    for part in (f"{result['top1_error']:.2%}", "360 images", "CC BY 4.0", "2 towers", "2 steps"):
        assert part in text
    assert sorted(path.name for path in exported.iterdir() if path.suffix != ".jpg") == [
        "README.md",
        "net.jax",
        "net.jax.json",
    ]


def test_a_readme_of_the_users_is_left_alone(root: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"README\.md of its own"):
        export(root / "command", tmp_path / "net", "jax", "newest", None)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("out", "message"),
    [("out/net.jax", "is there already"), ("out/net.jax/deeper", "File exists|Not a directory")],
)
def test_places_where_it_can_not_be(root: Path, exported: Path, out: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export(root / "command", root / out, "jax", "newest", None)


def test_outputs_that_stand_for_no_class_are_no_parameters() -> None:
    architecture = miniature.shrunk(PAPER)
    params = miniature.params_of(miniature.network(architecture))
    layers = layout.shapes(architecture, miniature.NUM_CLASSES)
    assert _count(params, miniature.NUM_CLASSES) == sum(
        math.prod(shape) + shape[0] for shape in layers.values()
    )


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        ("digits", "CC BY 4.0"),
        ("folder:/some/where", "not known here"),
        ("imagenette/320px-v2", "non-commercial"),
        ("mnist", "catalog/mnist"),
    ],
)
def test_licences(dataset: str, part: str) -> None:
    assert part in card.licence(dataset)
