"""torchvision's AlexNet in PyTorch's files: valid, hostile and invalid files."""

import pickle
import zipfile
from collections import OrderedDict
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
    ("write", "end"), [(published.write_zip, b""), (published.write_legacy, b"N")]
)
def test_pytorch_reads_the_test_files(write, end: bytes, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = write(tmp_path / "net.pth", published.state_dict_pickle(TENSORS, end), TENSORS)
    loaded = torch.load(path, weights_only=True)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)


@pytest.mark.parametrize("write", [published.write_zip, published.write_legacy])
def test_hostile_pickle_is_not_executed(write, tmp_path: Path) -> None:
    command = published.text(f"touch {tmp_path / 'executed'}")
    saved = published.dictionary({"features.0.weight": b"cos\nsystem\n(" + command + b"tR"})
    path = write(tmp_path / "net.pth", saved, {})
    with pytest.raises(
        UserError, match=r"^--weights=.*: its pickle calls os\.system, which no weights file"
    ):
        import_weights(CONFIG, path, tmp_path / "run", published.NAMES)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((10**9,), (0,)),
        ((11,), (1,)),
        ((3,), (-1,)),
        ((2**62, 4), (4, 1)),
        ((-2, -3), (1, 1)),
    ],
)
def test_tensor_outside_its_storage_is_rejected(
    shape: tuple[int, ...], strides: tuple[int, ...], tmp_path: Path
) -> None:
    saved = published.dictionary({"features.0.weight": published.tensor("0", shape, strides)})
    path = published.write_zip(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match=r"a tensor of .* exceeds its 10 values"):
        read_weights(path)


def test_compressed_file_is_rejected(tmp_path: Path) -> None:
    storages = {"0": np.zeros(10**6, np.float32)}
    saved = published.dictionary({"features.0.weight": published.tensor("0", (10**6,), (1,))})
    path = published.write_zip(tmp_path / "net.pth", saved, storages, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"it is compressed, but torch\.save compresses nothing"):
        read_weights(path)


@pytest.mark.parametrize(
    "saved",
    [
        b"]",
        published.dictionary({"state_dict": b"N"}),
        published.dictionary({"a": published.tensor("nowhere", (3,), (1,))}),
        published.dictionary({"a": published.tensor("0", (3,), (1,), kind="O")}),
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR",
        b"ctorch\nFloatStorage\n}" + published.text("a") + b"K\x01sb",
        b"(" * 10**5 + b"t" * 10**5,
    ],
)
def test_invalid_pickle_is_rejected(saved: bytes, tmp_path: Path) -> None:
    path = published.write_zip(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    message = r"it is not a state dict of PyTorch .*, or damaged$|calls torch\.OStorage"
    with pytest.raises(UserError, match=message):
        read_weights(path)


def test_names_that_are_not_strings_are_ignored(tmp_path: Path) -> None:
    saved = b"}K\x01" + published.tensor("0", (3,), (1,)) + b"s"
    path = published.write_zip(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match=r"features\.0\.weight or \.bias .* has no tensor"):
        read_weights(path)


def test_large_memo_index_in_a_pickle_allocates_no_memory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no tensor"):  # C's unpickler takes 34 GB here
        read_weights(published.write_zip(tmp_path / "net.pth", b"}r\xff\xff\xff\x7f", {}))


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


def test_storage_views_are_rejected(tmp_path: Path) -> None:
    view = b"(" + published.text("part") + b"K\x05K\x05t"
    saved = published.dictionary({"features.0.weight": published.tensor("0", (3,), (1,), end=view)})
    path = published.write_legacy(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match="its storages share memory"):
        read_weights(path)


def test_plain_pickle_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"features.0.weight": 1}))
    with pytest.raises(UserError, match="it is not a state dict of PyTorch"):
        read_weights(tmp_path / "net.pth")
