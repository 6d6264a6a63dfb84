"""torchvision's AlexNet in PyTorch's files: networks, and what else the files hold."""

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import torchvision
from src.convert.importing import import_weights
from src.convert.weight_files import PretrainedWeights, read_weights
from src.errors import UserError
from src.inference.classifier import load
from src.runs.provenance import read_provenance
from src.training.state import create_state
from tests.support import miniature, published

IMAGES = np.random.default_rng(0).integers(
    0, 256, (3, published.SIZE, published.SIZE, 3), dtype=np.uint8
)
CONFIG = published.recipe(torchvision)
TENSORS = published.state_dict(CONFIG)


def torchvision_probabilities(tensors: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The probabilities (N, classes) of torchvision's code, which is repeated here."""
    torch = pytest.importorskip("torch")
    layers = [torch.tensor(array) for array in tensors.values()]
    c, f = torch.nn.functional.conv2d, torch.nn.functional
    start, crop = (published.SIZE - published.CROP) // 2, published.CROP
    x = torch.tensor(images[:, start : start + crop, start : start + crop])
    x = x.permute(0, 3, 1, 2).float() / 255
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


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "training checkpoint"])
def test_imported_torchvision_network_matches_pytorch(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "alexnet.pth.tar"
    if kind == "safetensors":
        path = tmp_path / "alexnet.safetensors"
        save_file(TENSORS, path)
    elif kind == "training checkpoint":
        named = {f"module.{name}": torch.tensor(array) for name, array in TENSORS.items()}
        other_entries = {"best_acc1": torch.tensor(56.5), "optimizer": {"momentum": torch.ones(3)}}
        torch.save(
            {"epoch": 90, "state_dict": named, **other_entries},
            path,
            _use_new_zipfile_serialization=False,
        )
    else:
        # With permuted strides, as a transposed tensor has them.
        tensors = OrderedDict(
            (name, torch.tensor(array.T.copy()).permute(*reversed(range(array.ndim))))
            for name, array in TENSORS.items()
        )
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    import_weights(CONFIG, path, tmp_path / "run", published.NAMES)
    probabilities = load(tmp_path / "run", mesh=miniature.mesh(1, 1))(IMAGES)
    expected = torchvision_probabilities(TENSORS, IMAGES)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    assert read_provenance(tmp_path / "run")["kind"] == "torchvision's AlexNet"


def assert_same(weights: PretrainedWeights) -> None:
    for name, (_, biases) in zip(
        published.TORCHVISION_MODULES, weights.layers.values(), strict=True
    ):
        np.testing.assert_array_equal(biases, TENSORS[f"{name}.bias"])
    np.testing.assert_array_equal(weights.layers["fc6"][0], TENSORS["classifier.1.weight"])


@pytest.mark.parametrize("write", [published.write_zip, published.write_legacy])
def test_other_contents_of_a_checkpoint_are_ignored(write, tmp_path: Path) -> None:
    end = b"N" if write is published.write_legacy else b""
    odd = {
        "counts": published.tensor("counts", (3,), (1,), "Byte", end),
        "none": published.tensor("none", (0, 4), (4, 1), "Bool", end),
    }
    storages = {"counts": np.ones(3, np.uint8), "none": np.zeros(0, bool), **TENSORS}
    state = published.state_dict_pickle(TENSORS, end)[:-1] + b"".join(
        published.text(name) + program for name, program in odd.items()
    )
    best = published.tensor("best", (), (), "Double", end)
    saved = published.dictionary({"epoch": b"K\x5a", "best_acc1": best, "state_dict": state + b"u"})
    assert_same(read_weights(write(tmp_path / "NET.PTH", saved, {"best": np.ones(1), **storages})))


@pytest.mark.parametrize(
    ("keys", "rename"),
    [
        (["model"], lambda name: name),
        (["model_state_dict"], lambda name: f"module._orig_mod.{name}"),
        (["net"], lambda name: name.replace("features.", "features.module.")),
        (["state_dict"], lambda name: f"model.{name}"),
        (["state_dict", "net"], lambda name: f"_orig_mod.module.{name}"),
        (["module"], lambda name: name),
        (["net", "state_dict"], lambda name: name),
    ],
)
def test_state_dict_is_read_under_common_keys_and_prefixes(
    keys: list[str], rename: Callable[[str], str], tmp_path: Path
) -> None:
    tensors = {rename(name): array for name, array in TENSORS.items()}
    saved = published.state_dict_pickle(tensors)
    for key in reversed(keys):
        saved = published.dictionary({"epoch": b"K\x5a", key: saved})
    assert_same(read_weights(published.write_zip(tmp_path / "net.pth", saved, tensors)))


@pytest.mark.parametrize("write", [published.write_zip, published.write_legacy])
@pytest.mark.parametrize(
    "other",
    [
        b"cargparse\nNamespace\n)\x81}" + published.text("lr") + b"K\x01sb",
        b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + published.text("loss") + b"]s",
        b"cmine\nMeters\n)\x81(K\x01K\x02e",
        b"cos\nsystem\n(" + published.text("touch executed") + b"tR",
    ],
    ids=["namespace", "dictionary", "list", "hostile"],
)
def test_objects_beside_the_tensors_stay_inert(
    write, other: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    end = b"N" if write is published.write_legacy else b""
    state = published.state_dict_pickle(TENSORS, end)
    saved = published.dictionary({"other": other, "state_dict": state, "more": other})
    assert_same(read_weights(write(tmp_path / "net.pth", saved, TENSORS)))
    state = state[:-1] + published.text("_extra_state") + other + b"u"
    assert_same(read_weights(write(tmp_path / "net.pth", state, TENSORS)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("is_zip", [True, False])
def test_checkpoint_with_objects_of_pytorch_is_read(is_zip: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    checkpoint = {
        "args": argparse.Namespace(lr=0.1, path=tmp_path),
        "best": np.float64(56.5),
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 30).state_dict(),
        "types": [torch.float8_e4m3fn, torch.zeros(3, dtype=torch.float8_e4m3fn)],
        "sparse": torch.eye(3).to_sparse(),
        "ema": network,
        "model": {name: torch.nn.Parameter(torch.tensor(a)) for name, a in TENSORS.items()},
    }
    path = tmp_path / "net.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=is_zip)
    assert_same(read_weights(path))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["head.weight", "features.0.bias"], r"features\.0\.weight .* has features\.0\.bias, head"),
        ([f"{i:02}.bias" for i in range(30)], r"has 00\.bias, .* 19\.bias and 10 more$"),
        (
            ["net.features.0.bias", "model.features.0.bias"],
            r"several networks: model\.f.*; keep one",
        ),
    ],
)
def test_message_lists_the_keys_of_the_file(names: list[str], message: str, tmp_path: Path) -> None:
    save_file({name: np.zeros(3, np.float32) for name in names}, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "net.safetensors")


def test_features_alone_get_random_dense_layers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    features = {name: array for name, array in TENSORS.items() if name.startswith("features.")}
    save_file(features, tmp_path / "features.safetensors")
    save_file(TENSORS, tmp_path / "net.safetensors")
    names = ["cat", "dog", "owl"]  # any number
    import_weights(CONFIG, tmp_path / "features.safetensors", tmp_path / "features", names)
    assert "fc6, fc7, fc8 are random: train from " in caplog.text
    import_weights(CONFIG, tmp_path / "net.safetensors", tmp_path / "run", published.NAMES)
    caplog.clear()
    only, full = (load(tmp_path / name, mesh=miniature.mesh(1, 1)) for name in ("features", "run"))
    warning = f"workdir {tmp_path}/features: fc6, fc7, fc8 are random until trained, with"
    assert caplog.text.count("are random") == caplog.text.count(warning) == 1
    expected = full.features(IMAGES, "conv5")
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(only.features(IMAGES, "conv5"), expected)
    random = create_state(CONFIG, len(names), miniature.mesh(1, 1)).params
    for name in ("fc6", "fc7", "fc8"):
        np.testing.assert_array_equal(only.params[name]["kernel"], random[name]["kernel"])
    kind = "torchvision's AlexNet without fc6, fc7, fc8"
    assert read_provenance(tmp_path / "features")["kind"] == kind


@pytest.mark.parametrize(
    ("write", "end"), [(published.write_zip, b""), (published.write_legacy, b"N")]
)
def test_pytorch_reads_the_test_files(write, end: bytes, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = write(tmp_path / "net.pth", published.state_dict_pickle(TENSORS, end), TENSORS)
    loaded = torch.load(path, weights_only=True)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            np.zeros((12, 3, 11, 11), np.int64),
            "conv1 has the type int64, but it must be floating-point",
        ),
        (np.full((12, 3, 11, 11), np.nan), "conv1 has values that are not finite"),
        (np.full((12, 3, 11, 11), 1e300), "conv1 has values that are not finite"),
    ],
)
def test_invalid_values_are_rejected(weights: np.ndarray, message: str, tmp_path: Path) -> None:
    save_file({**TENSORS, "features.0.weight": weights}, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "net.safetensors")
