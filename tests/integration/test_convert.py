"""The command `src.convert`: import of published weights, and export to PyTorch."""

import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from configs import bvlc_alexnet, small
from src.cli.app import run_command
from src.convert import __main__ as command
from src.convert.exporting import export_weights
from src.convert.importing import read_class_names
from src.convert.weight_files import read_weights
from src.data import images as images_
from src.errors import UserError
from src.inference.classifier import Classifier, load
from src.models import cifar
from src.models.architecture import Architecture
from src.models.presets import PRESETS
from src.runs.checkpoint import Checkpointer
from src.runs.config import read_config, write_config
from src.runs.preprocessing import Preprocessing, write_preprocessing
from src.runs.workdir import check_classes, check_workdir, open_dataset
from src.training.initialization import initial_state
from src.training.state import Progress, create_state, to_checkpoint
from tests.support import miniature
from tests.support.commands import ROOT, run
from tests.support.published import CLASSES, CROP, NAMES, SIZE, caffemodel, random_layers, recipe
from tests.support.runs import trained

ALEXNET_TORCH = ROOT / "docs/alexnet_torch.py"


def on_one_device(workdir: Path) -> Classifier:
    return load(workdir, mesh=miniature.mesh(1, 1))


def convert(*argv: str) -> int:
    """Runs the command in this process; returns its exit status."""
    return run_command(command.main, command.FLAGS, command.__doc__, argv)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that the command imported, with the classes of the digits."""
    root = tmp_path_factory.mktemp("imported")
    config = recipe(bvlc_alexnet)
    layers = random_layers(config)
    random = np.random.default_rng(3).standard_normal((10, 24)).astype(np.float32)
    layers["fc8"] = (random, np.zeros(10, np.float32))
    (root / "net.caffemodel").write_bytes(caffemodel(layers, config))
    maps = [f"--config.model.convs.{name}.maps={n}" for name, n in miniature.MAPS.items()]
    units = [f"--config.model.dense.{name}.units={n}" for name, n in miniature.UNITS.items() if n]
    status = convert(
        "--config=configs/bvlc_alexnet.py:digits",
        *maps,
        *units,
        f"--config.model.image_size={CROP}",
        f"--config.data.size={SIZE}",
        f"--config.data.root={root / 'prepared'}",
        "--config.views=1",
        f"--weights={root / 'net.caffemodel'}",
        f"--workdir={root / 'run'}",
    )
    assert status == 0
    return root


def test_imported_run_is_evaluated_on_data_of_its_classes(imported: Path) -> None:
    done = run("src.evaluate", f"--workdir={imported / 'run'}", "--cpu_devices=2", cache=imported)
    assert done.returncode == 0, done.stderr
    assert "(360 images, 1 view)" in done.stdout


def test_exported_weights_equal_the_imported_weights(imported: Path) -> None:
    target = imported / "again.safetensors"
    assert convert(f"--workdir={imported / 'run'}", f"--to={target}") == 0
    written = load_file(target)
    layers = read_weights(imported / "net.caffemodel").layers
    assert written.keys() == {f"{n}.{k}" for n in layers for k in ("weight", "bias")} | {"mean"}
    for name, (weights, biases) in layers.items():
        np.testing.assert_array_equal(written[f"{name}.weight"], weights)
        np.testing.assert_array_equal(written[f"{name}.bias"], biases)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--to=/proc/net.safetensors"],
            r"--to=/proc/net\.safetensors: .*; give a file in another",
        ),
        (["--to=net.pth"], r"--to=net\.pth: its extension must be \.safetensors"),
        (
            ["--to=net.safetensors", "--weights=net.pth"],
            "--weights: it cannot be combined with --to",
        ),
        (
            ["--to=net.safetensors", "--config=configs/torchvision.py"],
            "--config: it cannot be combined with --to",
        ),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    more: list[str], message: str, imported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert convert(f"--workdir={imported / 'run'}", *more) == 2
    assert re.fullmatch(f"error: .*{message}.*\n", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\ndog\ncat\n", "2 classes have the name 'cat'; names must be unique"),
        (b"\xff\xfe", "can't decode byte"),
    ],
)
def test_invalid_class_names_are_rejected(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"^--class_names=.*: .*{message}"):
        read_class_names(tmp_path / "names.txt")


def test_class_names_file_from_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert read_class_names(tmp_path / "names.txt") == ["cat", "dog"]


def test_training_in_an_imported_run_is_rejected(imported: Path) -> None:
    config = recipe(bvlc_alexnet)
    config.data.root = str(imported / "prepared")
    with pytest.raises(UserError, match=r"to fine-tune them, give --config\.init_from"):
        trained(config, imported / "run")


def test_imported_weights_are_fine_tuned(imported: Path, tmp_path: Path) -> None:
    config = recipe(bvlc_alexnet)
    config.data.root = str(imported / "prepared")
    config.init_from = str(imported / "run")
    config.optimizer.frozen_layers = "conv*"
    config.batch_size = 8
    config.duration = config.evaluate_every = "2 steps"
    config.schedule.boundaries = ()
    workdir = trained(config, tmp_path / "run")
    before, after = (on_one_device(path).params for path in (imported / "run", workdir))
    np.testing.assert_array_equal(before["conv2"]["kernel"], after["conv2"]["kernel"])
    assert np.abs(before["fc8"]["kernel"] - after["fc8"]["kernel"]).max() > 0


FEATURES = ROOT.parent / "shared/data/alexnet_features/features.safetensors"


@pytest.mark.skipif(not FEATURES.exists(), reason=f"{FEATURES} is absent")
def test_published_features_are_weights_to_train_from(
    cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fields = [
        "--config=configs/torchvision.py:digits",
        "--config.model.dense.fc6.units=16",
        "--config.model.dense.fc7.units=16",
        "--config.model.image_size=64",
        "--config.data.size=72",
        f"--config.data.root={cache / 'prepared'}",
    ]
    assert convert(*fields, f"--weights={FEATURES}", f"--workdir={tmp_path / 'features'}") == 0
    assert "fc6, fc7, fc8 are random: train from" in capfd.readouterr().err

    export_weights(tmp_path / "features", tmp_path / "out.safetensors", "newest")
    theirs, ours = load_file(FEATURES), load_file(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(ours["conv2.weight"], theirs["features.3.weight"])
    np.testing.assert_array_equal(ours["conv5.bias"], theirs["features.10.bias"])
    config = read_config(tmp_path / "features")
    config.init_from = str(tmp_path / "features")
    before = on_one_device(tmp_path / "features").params
    state = initial_state(config, ["one", "two", "three"], miniature.mesh(1, 1))
    for name in ("conv1", "conv5", "fc6", "fc7"):
        np.testing.assert_array_equal(state.params[name]["kernel"], before[name]["kernel"])


SAMPLES = ROOT.parent / "shared/data/imagenet_samples"


@pytest.mark.slow
@pytest.mark.skipif(not (FEATURES.exists() and SAMPLES.exists()), reason=f"{SAMPLES} is absent")
def test_published_convolutions_see_in_photographs_what_they_see_in_pytorch(
    tmp_path: Path, cache: Path
) -> None:
    torch = pytest.importorskip("torch")
    fields = [
        "--config=configs/torchvision.py:digits",
        "--config.model.dense.fc6.units=16",
        "--config.model.dense.fc7.units=16",
        f"--config.data.root={cache / 'prepared'}",
    ]
    assert convert(*fields, f"--weights={FEATURES}", f"--workdir={tmp_path / 'run'}") == 0
    files = sorted(path for path in SAMPLES.rglob("*.*") if path.is_file())[:16]
    classifier = on_one_device(tmp_path / "run")
    results = list(classifier.file_features(files, "conv5"))
    ours = np.stack([result.output for result in results if result.output is not None])
    assert len(ours) == 16

    # torchvision's features, written out: https://docs.pytorch.org/vision
    conv, relu, pool = torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d
    layers = [
        *(conv(3, 64, 11, 4, 2), relu(), pool(3, 2)),
        *(conv(64, 192, 5, padding=2), relu(), pool(3, 2)),
        *(conv(192, 384, 3, padding=1), relu()),
        *(conv(384, 256, 3, padding=1), relu()),
        *(conv(256, 256, 3, padding=1), relu(), pool(3, 2)),
    ]
    network = torch.nn.Sequential(*layers)
    published = load_file(FEATURES)
    network.load_state_dict(
        {name.removeprefix("features."): torch.tensor(x) for name, x in published.items()}
    )
    pixels = np.stack([images_.decode(images_.prepare(file, 256)) for file in files])
    crops = pixels[:, 16:240, 16:240].astype(np.float32) / 255
    normalized = (crops - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    with torch.no_grad():
        theirs = network(torch.tensor(normalized.transpose(0, 3, 1, 2))).numpy()
    error = np.linalg.norm(ours - theirs.transpose(0, 2, 3, 1)) / np.linalg.norm(theirs)
    assert error < 1e-5, error


def test_data_with_other_classes_is_rejected(imported: Path) -> None:
    data = open_dataset(imported / "run", on_one_device(imported / "run").config.data)
    check_classes(imported / "run", data.class_names)
    with pytest.raises(UserError, match=r"its 10 classes are not the 10 .* in another order"):
        check_classes(imported / "run", data.class_names[::-1])


SMALL = {name: miniature.shrunk(network) for name, network in PRESETS.items()}
SMALL["small"] = miniature.shrunk(
    Architecture.from_config(small.get_config("cifar10").model), image_size=64
)
SMALL["unconnected"] = miniature.shrunk(PRESETS["paper"], exchange_before=("fc8",))


def test_pytorch_file_runs_without_this_project(imported: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    export_weights(imported / "run", tmp_path / "net.safetensors", "newest")
    shutil.copy(ALEXNET_TORCH, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    program = """
import numpy as np
import torch
from alexnet_torch import load

network = load("net.safetensors")
with torch.no_grad():
    np.save("logits.npy", network(torch.tensor(np.load("images.npy"))).numpy())
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    expected = on_one_device(imported / "run").features(images, "fc8")
    assert_close(np.load(tmp_path / "logits.npy"), expected)


def assert_close(logits: np.ndarray, expected: np.ndarray) -> None:
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.ptp(expected), rtol=1e-4)


@pytest.mark.parametrize("name", [*SMALL, *cifar.PRESETS])
def test_pytorch_computes_the_same_logits(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    architecture = {**SMALL, **cifar.PRESETS}[name]
    config = miniature.config()
    config.model = ConfigDict(asdict(architecture))
    size = config.data.size = architecture.image_size + 5
    preprocessing = Preprocessing("", NAMES, miniature.statistics(size))
    check_workdir(tmp_path / "run", config)
    write_preprocessing(tmp_path / "run", preprocessing)
    write_config(tmp_path / "run", config)
    params = nnx.to_pure_dict(nnx.state(miniature.network(architecture)))
    other_params = create_state(config, CLASSES, miniature.mesh(1, 1))
    state = replace(other_params, params=params)
    with Checkpointer(tmp_path / "run") as checkpointer:
        checkpointer.save(to_checkpoint(state, Progress(schedule={})))
    export_weights(tmp_path / "run", tmp_path / "net.safetensors", "newest")

    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    network = runpy.run_path(str(ALEXNET_TORCH))["load"](str(tmp_path / "net.safetensors"))
    with torch.no_grad():
        logits = network(torch.tensor(images)).numpy()
    expected = on_one_device(tmp_path / "run").features(images, list(architecture.dense)[-1])
    assert expected.shape == (2, CLASSES)
    assert_close(logits, expected)
