"""torchvision's AlexNet from PyTorch's files, whole, hostile and otherwise odd."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import torchvision
from src.convert.importing import import_weights
from src.convert.weight_files import Weights, read
from src.errors import UserError
from src.inference.classifier import load
from src.runs.provenance import read_provenance
from tests.support import miniature, others

IMAGES = np.random.default_rng(0).integers(0, 256, (3, others.SIZE, others.SIZE, 3), dtype=np.uint8)
CONFIG = others.recipe(torchvision)
TENSORS = others.state_dict(CONFIG)


def torchvisions(tensors: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """What torchvision's code makes of photographs: it is written down here as it is there."""
    torch = pytest.importorskip("torch")
    layers = [torch.tensor(array) for array in tensors.values()]
    c, f = torch.nn.functional.conv2d, torch.nn.functional
    start, crop = (others.SIZE - others.CROP) // 2, others.CROP
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


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "a checkpoint of training"])
def test_torchvisions_network(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "alexnet.pth.tar"
    if kind == "safetensors":
        path = tmp_path / "alexnet.safetensors"
        save_file(TENSORS, path)
    elif kind == "a checkpoint of training":
        named = {f"module.{name}": torch.tensor(array) for name, array in TENSORS.items()}
        beside_it = {"best_acc1": torch.tensor(56.5), "optimizer": {"momentum": torch.ones(3)}}
        torch.save(
            {"epoch": 90, "state_dict": named, **beside_it},
            path,
            _use_new_zipfile_serialization=False,
        )
    else:
        # Not in their natural order in memory, as of a transposed tensor.
        made = OrderedDict(
            (name, torch.tensor(array.T.copy()).permute(*reversed(range(array.ndim))))
            for name, array in TENSORS.items()
        )
        torch.save(made, path, _use_new_zipfile_serialization=kind == "zip")
    import_weights(CONFIG, path, tmp_path / "run", others.NAMES)
    probabilities = load(tmp_path / "run", mesh=miniature.mesh(1, 1))(IMAGES)
    expected = torchvisions(TENSORS, IMAGES)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    assert read_provenance(tmp_path / "run")["kind"] == "torchvision's AlexNet"


def same(weights: Weights) -> None:
    for name, (_, biases) in zip(others.OF_TORCHVISION, weights.layers.values(), strict=True):
        np.testing.assert_array_equal(biases, TENSORS[f"{name}.bias"])
    np.testing.assert_array_equal(weights.layers["fc6"][0], TENSORS["classifier.1.weight"])


@pytest.mark.parametrize("write", [others.zipped, others.legacy])
def test_what_else_is_in_a_file_does_not_matter(write, tmp_path: Path) -> None:
    end = b"N" if write is others.legacy else b""
    odd = {
        "counts": others.tensor("counts", (3,), (1,), "Byte", end),
        "none": others.tensor("none", (0, 4), (4, 1), "Bool", end),
    }
    storages = {"counts": np.ones(3, np.uint8), "none": np.zeros(0, bool), **TENSORS}
    state = others.whole(TENSORS, end)[:-1] + b"".join(
        others.text(name) + made for name, made in odd.items()
    )
    best = others.tensor("best", (), (), "Double", end)
    saved = others.dictionary({"epoch": b"K\x5a", "best_acc1": best, "state_dict": state + b"u"})
    same(read(write(tmp_path / "NET.PTH", saved, {"best": np.ones(1), **storages})))


@pytest.mark.parametrize(("write", "end"), [(others.zipped, b""), (others.legacy, b"N")])
def test_the_files_made_here_are_pytorchs(write, end: bytes, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = write(tmp_path / "net.pth", others.whole(TENSORS, end), TENSORS)
    loaded = torch.load(path, weights_only=True)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)


@pytest.mark.parametrize("write", [others.zipped, others.legacy])
def test_what_a_hostile_pickle_wants_is_not_done(write, tmp_path: Path) -> None:
    command = others.text(f"touch {tmp_path / 'executed'}")
    saved = others.dictionary({"features.0.weight": b"cos\nsystem\n(" + command + b"tR"})
    path = write(tmp_path / "net.pth", saved, {})
    with pytest.raises(UserError, match=r"^--weights=.*: it wants to call os\.system, which takes"):
        import_weights(CONFIG, path, tmp_path / "run", others.NAMES)
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
def test_tensors_outside_of_their_storages(
    shape: tuple[int, ...], strides: tuple[int, ...], tmp_path: Path
) -> None:
    saved = others.dictionary({"features.0.weight": others.tensor("0", shape, strides)})
    path = others.zipped(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match=r"a tensor of .* is not within its 10 numbers"):
        read(path)


def test_a_file_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    storages = {"0": np.zeros(10**6, np.float32)}
    saved = others.dictionary({"features.0.weight": others.tensor("0", (10**6,), (1,))})
    path = others.zipped(tmp_path / "net.pth", saved, storages, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"it is compressed, which torch\.save does not do"):
        read(path)


@pytest.mark.parametrize(
    "saved",
    [
        b"]",
        others.dictionary({"state_dict": b"N"}),
        others.dictionary({"a": others.tensor("nowhere", (3,), (1,))}),
        others.dictionary({"a": others.tensor("0", (3,), (1,), kind="O")}),
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR",
        b"ctorch\nFloatStorage\n}" + others.text("a") + b"K\x01sb",
        b"(" * 10**5 + b"t" * 10**5,
    ],
)
def test_pickles_that_are_no_state_dict(saved: bytes, tmp_path: Path) -> None:
    path = others.zipped(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    message = r"it is not a state dict of PyTorch's .*, or damaged$|wants to call torch\.OStorage"
    with pytest.raises(UserError, match=message):
        read(path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    saved = b"}K\x01" + others.tensor("0", (3,), (1,)) + b"s"
    path = others.zipped(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match=r"features\.0\.weight and \.bias .* found nothing"):
        read(path)


def test_an_index_in_a_pickle_takes_no_memory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found nothing"):  # C's unpickler takes 34 GB here
        read(others.zipped(tmp_path / "net.pth", b"}r\xff\xff\xff\x7f", {}))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (np.zeros((12, 3, 11, 11), np.int64), "conv1 is of int64, where floating-point numbers"),
        (np.full((12, 3, 11, 11), np.nan), "conv1 has numbers that are not finite"),
        (np.full((12, 3, 11, 11), 1e300), "conv1 has numbers that are not finite"),
    ],
)
def test_numbers_that_are_no_weights(made: np.ndarray, message: str, tmp_path: Path) -> None:
    save_file({**TENSORS, "features.0.weight": made}, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "net.safetensors")


def test_storages_that_are_parts_of_others(tmp_path: Path) -> None:
    view = b"(" + others.text("part") + b"K\x05K\x05t"
    saved = others.dictionary({"features.0.weight": others.tensor("0", (3,), (1,), end=view)})
    path = others.legacy(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match="storages that are parts of others"):
        read(path)


def test_other_pickles_are_no_state_dict(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"features.0.weight": 1}))
    with pytest.raises(UserError, match="it is not a state dict of PyTorch's"):
        read(tmp_path / "net.pth")
