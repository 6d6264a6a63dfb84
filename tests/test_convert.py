"""Weights from others' files, made here by their formats' rules, and for PyTorch."""

import io
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load_file, save_file

from commands import ROOT, run
from configs import bvlc_alexnet, caffenet, torchvision
from src import workdir as workdirs
from src.checkpoint import Checkpoints, Progress
from src.classifier import Classifier, load
from src.convert import bring_in, write_out
from src.data.prepare import prepare
from src.errors import UserError
from src.models import cifar
from src.models.presets import PRESETS, Architecture
from src.place import place
from src.processes import Team
from src.step import create_state
from src.train import train
from src.weights import files
from src.weights.layout import shapes
from tests import miniature

CLASSES = 7
NAMES = [f"class {i}" for i in range(CLASSES)]
SIZE, CROP = 104, 95  # for which floor and ceiling of the pools agree, as they do for 224
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def recipe(module: Any, dataset: str = "digits") -> ConfigDict:
    """A recipe for a network of few maps."""
    config = module.get_config(dataset)
    network = Architecture.from_fields(config.model.to_dict())
    network = miniature.shrunk(network, image_size=CROP)
    config.model = ConfigDict(asdict(network))
    config.data.size = SIZE
    config.views = 1
    return config


def drawn(config: ConfigDict) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random weights as PyTorch and Caffe lay them out, which keep the size of the signal."""
    random = np.random.default_rng(1)
    architecture = Architecture.from_fields(config.model.to_dict())
    return {
        name: (
            (random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32),
            (0.3 * random.standard_normal(shape[0])).astype(np.float32),
        )
        for name, shape in shapes(architecture, CLASSES).items()
    }


def on_one_device(workdir: Path) -> Classifier:
    return load(workdir, mesh=miniature.mesh(1, 1))


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def centre(images: np.ndarray) -> np.ndarray:
    start = (SIZE - CROP) // 2
    return images[:, start : start + CROP, start : start + CROP]


# torchvision's AlexNet

OF_TORCHVISION = ["features.0", "features.3", "features.6", "features.8", "features.10"]
OF_TORCHVISION += ["classifier.1", "classifier.4", "classifier.6"]


def state_dict(config: ConfigDict) -> dict[str, np.ndarray]:
    pairs = zip(OF_TORCHVISION, drawn(config).values(), strict=True)
    return {
        f"{name}.{kind}": array
        for name, arrays in pairs
        for kind, array in zip(("weight", "bias"), arrays, strict=True)
    }


@pytest.fixture
def as_pth(tmp_path: Path) -> Callable[..., Path]:
    torch = pytest.importorskip("torch")

    def save(tensors: dict[str, np.ndarray], **options: Any) -> Path:
        # Not in their natural order in memory, as of a transposed tensor.
        made = OrderedDict(
            (name, torch.tensor(array.T.copy()).permute(*reversed(range(array.ndim))))
            for name, array in tensors.items()
        )
        torch.save(made, tmp_path / "alexnet.pth", **options)
        return tmp_path / "alexnet.pth"

    return save


def torchvisions(tensors: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """What torchvision's code makes of photographs: it is written down here as it is there."""
    torch = pytest.importorskip("torch")
    layers = [torch.tensor(array) for array in tensors.values()]
    c, f = torch.nn.functional.conv2d, torch.nn.functional
    x = torch.tensor(centre(images)).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / deviation[:, None, None]
    x = f.max_pool2d(f.relu(c(x, *layers[0:2], stride=4, padding=2)), 3, 2)
    x = f.max_pool2d(f.relu(c(x, *layers[2:4], padding=2)), 3, 2)
    x = f.relu(c(x, *layers[4:6], padding=1))
    x = f.relu(c(x, *layers[6:8], padding=1))
    x = f.max_pool2d(f.relu(c(x, *layers[8:10], padding=1)), 3, 2)
    x = f.relu(f.linear(x.flatten(1), *layers[10:12]))
    x = f.relu(f.linear(x, *layers[12:14]))
    return f.linear(x, *layers[14:16]).softmax(dim=1).numpy()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "a checkpoint of training"])
def test_torchvisions_network(kind: str, tmp_path: Path, as_pth: Callable[..., Path]) -> None:
    config = recipe(torchvision)
    tensors = state_dict(config)
    if kind == "safetensors":
        path = tmp_path / "alexnet.safetensors"
        save_file(tensors, path)
    elif kind == "a checkpoint of training":
        import torch

        path = tmp_path / "alexnet.pt"
        named = {f"module.{name}": torch.tensor(array) for name, array in tensors.items()}
        torch.save({"epoch": 90, "state_dict": named}, path)
    else:
        path = as_pth(tensors, _use_new_zipfile_serialization=kind == "zip")
    bring_in(config, path, tmp_path / "run", NAMES)
    probabilities = on_one_device(tmp_path / "run")(IMAGES)
    expected = torchvisions(tensors, IMAGES)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    assert workdirs.read_provenance(tmp_path / "run")["kind"] == "torchvision's AlexNet"


# Caffe's networks


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, in the protocol buffers' encoding."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def new_blob(array: np.ndarray) -> bytes:
    shape = field(1, b"".join(map(varint, array.shape)))
    return field(5, array.astype("<f4").tobytes()) + field(7, shape)


def old_blob(array: np.ndarray) -> bytes:
    """Of four axes, unpacked doubles."""
    shape = (1,) * (4 - array.ndim) + array.shape
    axes = b"".join(varint(i << 3) + varint(n) for i, n in enumerate(shape, 1))
    return axes + b"".join(varint(5 << 3 | 5) + struct.pack("<f", x) for x in array.ravel())


def caffemodel(layers: dict[str, tuple[np.ndarray, np.ndarray]], form: str) -> bytes:
    if form == "new":
        made = [
            field(100, field(1, name.encode()) + b"".join(field(7, new_blob(a)) for a in arrays))
            for name, arrays in layers.items()
        ]
    else:
        made = [
            field(2, field(4, name.encode()) + b"".join(field(6, old_blob(a)) for a in arrays))
            for name, arrays in layers.items()
        ]
    data = field(100 if form == "new" else 2, field(1 if form == "new" else 4, b"data"))
    return field(1, b"AlexNet") + data + b"".join(made)


def caffes(
    layers: dict[str, tuple[np.ndarray, np.ndarray]], images: np.ndarray, pools_first: bool
) -> np.ndarray:
    """Caffe's arithmetic, (N, C, H, W) and BGR, on its own layout of the weights."""

    def conv(x: np.ndarray, name: str, stride: int = 1, pad: int = 0, groups: int = 1):
        weights, biases = layers[name]
        x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
        size = weights.shape[-1]
        windows = sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
        parts = zip(np.split(windows, groups, 1), np.split(weights, groups, 0), strict=True)
        out = [np.einsum("nchwij,ocij->nohw", part, w, optimize=True) for part, w in parts]
        return np.maximum(np.concatenate(out, axis=1) + biases[:, None, None], 0)

    def pool(x: np.ndarray) -> np.ndarray:
        beyond = [(0, (3 - side) % 2) for side in x.shape[2:]]
        x = np.pad(x, [(0, 0), (0, 0), *beyond], constant_values=-np.inf)
        return sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(axis=(-2, -1))

    def norm(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        for i in range(x.shape[1]):
            total = np.square(x[:, max(0, i - 2) : i + 3]).sum(axis=1)
            out[:, i] = x[:, i] / (1 + 1e-4 / 5 * total) ** 0.75
        return out

    def pool_and_norm(x: np.ndarray) -> np.ndarray:
        return norm(pool(x)) if pools_first else pool(norm(x))

    bgr = centre(images)[..., ::-1].transpose(0, 3, 1, 2)
    x = bgr - np.array([104.00698793, 116.66876762, 122.67891434])[:, None, None]
    x = pool_and_norm(conv(x, "conv1", stride=4))
    x = pool_and_norm(conv(x, "conv2", pad=2, groups=2))
    x = conv(conv(x, "conv3", pad=1), "conv4", pad=1, groups=2)
    x = pool(conv(x, "conv5", pad=1, groups=2)).reshape(len(x), -1)
    for name in ("fc6", "fc7"):
        x = np.maximum(x @ layers[name][0].T + layers[name][1], 0)
    return softmax(x @ layers["fc8"][0].T + layers["fc8"][1])


def as_npy(layers: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> Path:
    """As caffe-to-tensorflow wrote it: kernels (h, w, in, out), fc6 by (height, width, map)."""
    made = {}
    for name, (weights, biases) in layers.items():
        if weights.ndim == 4:
            weights = weights.transpose(2, 3, 1, 0)
        elif name == "fc6":
            maps = len(layers["conv5"][1])
            side = int((weights.shape[1] / maps) ** 0.5)
            split = weights.reshape(-1, maps, side, side).transpose(2, 3, 1, 0)
            weights = split.reshape(-1, len(weights))
        else:
            weights = weights.T
        made[name] = [weights, biases]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    # As in the days of Python 2, when NumPy's modules had other names.
    content = pickle.dumps(np.array(made, dtype=object), 2).replace(b"numpy._core", b"numpy.core")
    path.write_bytes(header.getvalue() + content)
    return path


@pytest.mark.parametrize("kind", ["new", "old", "npy"])
@pytest.mark.parametrize("module", [bvlc_alexnet, caffenet])
def test_caffes_networks(module: Any, kind: str, tmp_path: Path) -> None:
    config = recipe(module)
    layers = drawn(config)
    path = tmp_path / "net.caffemodel"
    if kind == "npy":
        path = as_npy(layers, tmp_path / "net.npy")
    else:
        path.write_bytes(caffemodel(layers, kind))
    bring_in(config, path, tmp_path / "run", NAMES)
    probabilities = on_one_device(tmp_path / "run")(IMAGES)
    expected = caffes(layers, IMAGES, pools_first=module is caffenet)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    # The examples tell the order of the layers.
    other = caffes(layers, IMAGES, pools_first=module is not caffenet)
    assert np.abs(expected - other).max() > 1e-3


@pytest.mark.parametrize("kind", ["binaryproto", "npy"])
def test_caffes_mean_image(kind: str, tmp_path: Path) -> None:
    config = recipe(bvlc_alexnet)
    bgr = np.random.default_rng(2).uniform(90, 130, (3, SIZE, SIZE)).astype(np.float32)
    mean = tmp_path / f"mean.{kind}"
    if kind == "npy":
        np.save(mean, bgr.astype(np.float64))
    else:
        mean.write_bytes(old_blob(bgr))
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(drawn(config), "new"))
    bring_in(config, tmp_path / "net.caffemodel", tmp_path / "run", NAMES, mean)
    kept = workdirs.read_preprocessing(tmp_path / "run").statistics.mean
    np.testing.assert_array_equal(kept, bgr[::-1].transpose(1, 2, 0))
    np.save(tmp_path / "small.npy", bgr[:, :50, :50])
    with pytest.raises(UserError, match=r"--mean=.*\(3, 50, 50\), where .*\(3, 104, 104\)"):
        bring_in(
            config,
            tmp_path / "net.caffemodel",
            tmp_path / "other",
            NAMES,
            tmp_path / "small.npy",
        )


# Files that are not as they should be


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {Hostile.trace}",)

    trace = ""


def hostile(kind: str, folder: Path) -> Path:
    Hostile.trace = str(folder / "executed")
    path = folder / f"net.{'npy' if kind == 'npy' else 'pth'}"
    if kind == "npy":
        np.save(path, np.array({"conv1": Hostile()}, dtype=object), allow_pickle=True)
    elif kind == "legacy":
        parts = [0x1950A86A20F9469CFC6C, 1001, {}, {"features.0.weight": Hostile()}, []]
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    else:
        torch = pytest.importorskip("torch")
        torch.save({"features.0.weight": Hostile()}, path)
    return path


@pytest.mark.parametrize("kind", ["npy", "legacy", "zip"])
def test_what_a_hostile_pickle_wants_is_not_done(kind: str, tmp_path: Path) -> None:
    path = hostile(kind, tmp_path)
    with pytest.raises(UserError, match=r"it wants to call (posix|nt|os)\.system, which takes"):
        bring_in(recipe(torchvision), path, tmp_path / "run", NAMES)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "caffemodel", "npy"])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.999])
def test_truncated_files(
    kind: str, share: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    module = torchvision if kind in ("zip", "legacy", "safetensors") else bvlc_alexnet
    config = recipe(module)
    path = tmp_path / f"net.{kind}"
    if kind == "safetensors":
        save_file(state_dict(config), path)
    elif kind == "caffemodel":
        path.write_bytes(caffemodel(drawn(config), "new"))
    elif kind == "npy":
        as_npy(drawn(config), path)
    else:
        save = request.getfixturevalue("as_pth")
        path = save(state_dict(config), _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"damaged|is missing"):
        bring_in(config, path, tmp_path / "run", NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.3.bias"), r"features\.3\.weight and \.bias .* are missing"),
        (
            lambda t: t.update({"classifier.6.weight": np.zeros((9, 24), np.float32)}),
            r"fc8 has weights of \(9, 24\) .* where the recipe's network has \(7, 24\)",
        ),
        (
            lambda t: t.update({"features.0.weight": np.zeros((12, 3, 7, 7), np.float32)}),
            r"conv1 has weights of \(12, 3, 7, 7\)",
        ),
    ],
)
def test_weights_of_another_network(
    change: Callable[[dict], Any], message: str, tmp_path: Path
) -> None:
    tensors = state_dict(recipe(torchvision))
    change(tensors)
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=message):
        bring_in(recipe(torchvision), tmp_path / "net.safetensors", tmp_path / "run", NAMES)


def test_files_that_are_none(tmp_path: Path) -> None:
    for name, message in (("net.onnx", "its ending is none of"), ("net.pth", "no such file")):
        with pytest.raises(UserError, match=message):
            bring_in(recipe(torchvision), tmp_path / name, tmp_path / "run", NAMES)


# What an imported network is good for


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, for the classes of the digits."""
    root = tmp_path_factory.mktemp("imported")
    config = recipe(bvlc_alexnet)
    layers = drawn(config)
    random = np.random.default_rng(3).standard_normal((10, 24)).astype(np.float32)
    layers["fc8"] = (random, np.zeros(10, np.float32))
    (root / "net.caffemodel").write_bytes(caffemodel(layers, "new"))
    maps = [f"--config.model.convs.{name}.maps={n}" for name, n in miniature.MAPS.items()]
    units = [f"--config.model.dense.{name}.units={n}" for name, n in miniature.UNITS.items() if n]
    done = run(
        "src.convert",
        "--config=configs/bvlc_alexnet.py:digits",
        *maps,
        *units,
        f"--config.model.image_size={CROP}",
        f"--config.data.size={SIZE}",
        f"--config.data.root={root / 'prepared'}",
        "--config.views=1",
        f"--weights={root / 'net.caffemodel'}",
        f"--workdir={root / 'run'}",
        cache=root,
    )
    assert done.returncode == 0, done.stderr
    return root


def test_it_is_evaluated_on_data_of_its_classes(imported: Path) -> None:
    done = run("src.evaluate", f"--workdir={imported / 'run'}", "--cpu_devices=2", cache=imported)
    assert done.returncode == 0, done.stderr
    assert "(360 images, 1 view)" in done.stdout


def test_it_is_written_out_again_by_the_command(imported: Path) -> None:
    target = imported / "again.safetensors"
    done = run("src.convert", f"--workdir={imported / 'run'}", f"--to={target}", cache=imported)
    assert done.returncode == 0, done.stderr
    written = load_file(target)
    layers = files.read(imported / "net.caffemodel").layers
    assert written.keys() == {f"{n}.{k}" for n in layers for k in ("weight", "bias")} | {"mean"}
    for name, (weights, biases) in layers.items():
        np.testing.assert_array_equal(written[f"{name}.weight"], weights)
        np.testing.assert_array_equal(written[f"{name}.bias"], biases)


def test_it_is_not_trained_in_place(imported: Path) -> None:
    config = recipe(bvlc_alexnet)
    config.data.root = str(imported / "prepared")
    with pytest.raises(UserError, match=r"train on from them with --config\.init_from"):
        train(config, imported / "run", Team(place({}), **config.processes))


def test_it_is_fine_tuned(imported: Path, tmp_path: Path) -> None:
    config = recipe(bvlc_alexnet)
    config.data.root = str(imported / "prepared")
    config.init_from = str(imported / "run")
    config.optimizer.frozen = "conv*"
    config.batch_size = 8
    config.duration = config.evaluate_every = "2 steps"
    config.schedule.boundaries = ()
    assert train(config, tmp_path / "run", Team(place({}), **config.processes)) == 0
    before, after = (on_one_device(path).params for path in (imported / "run", tmp_path / "run"))
    np.testing.assert_array_equal(before["conv2"]["kernel"], after["conv2"]["kernel"])
    assert np.abs(before["fc8"]["kernel"] - after["fc8"]["kernel"]).max() > 0


def test_other_classes_are_told(imported: Path, tmp_path: Path) -> None:
    data = prepare(**on_one_device(imported / "run").config.data)
    workdirs.check_data(imported / "run", data)
    data.class_names = data.class_names[::-1]
    with pytest.raises(UserError, match=r"its classes are 10, 0, 1, 2…, those of .* 10, 9, 8"):
        workdirs.check_data(imported / "run", data)


# For PyTorch

SMALL = {name: miniature.shrunk(network) for name, network in PRESETS.items()}
SMALL["unconnected"] = miniature.shrunk(PRESETS["paper"], exchange_before=("fc8",))


@pytest.mark.parametrize("name", [*SMALL, *cifar.PRESETS])
def test_pytorch_computes_the_same(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    architecture = {**SMALL, **cifar.PRESETS}[name]
    config = miniature.config()
    config.model = ConfigDict(asdict(architecture))
    size = config.data.size = architecture.image_size + 5
    known = workdirs.Preprocessing("", NAMES, miniature.statistics(size))
    workdirs.check(tmp_path / "run", config)
    workdirs.write_imported(tmp_path / "run", config, known, {})
    params = nnx.to_pure_dict(nnx.state(miniature.network(architecture)))
    drawn_otherwise = create_state(config, CLASSES, miniature.mesh(1, 1))
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(replace(drawn_otherwise, params=params), Progress(schedule={}))
    write_out(tmp_path / "run", tmp_path / "net.safetensors", "newest")

    program = """
import numpy as np
import torch
from alexnet_torch import load

network = load("net.safetensors")
with torch.no_grad():
    np.save("scores.npy", network(torch.tensor(np.load("images.npy"))).numpy())
"""
    (tmp_path / "alexnet_torch.py").write_text((ROOT / "docs/alexnet_torch.py").read_text())
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    scores = np.load(tmp_path / "scores.npy")
    expected = on_one_device(tmp_path / "run").features(images, list(architecture.dense)[-1])
    assert scores.shape == expected.shape == (2, CLASSES)
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.ptp(expected), rtol=1e-4)
