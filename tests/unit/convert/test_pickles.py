"""PyTorch's files that are hostile, damaged or without a state dict."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from configs import torchvision
from src.convert.importing import import_weights
from src.convert.weight_files import read_weights
from src.errors import UserError
from tests.support import published


def test_network_saved_as_an_object_is_rejected(tmp_path: Path) -> None:
    saved = b"ctorchvision.models.alexnet\nAlexNet\n)\x81}b"
    path = published.write_zip(tmp_path / "net.pth", saved, {})
    message = r"it has an object, torchvision\.models\.alexnet\.AlexNet; save its state_dict\(\)"
    with pytest.raises(UserError, match=message):
        read_weights(path)


def test_message_lists_the_keys_of_a_checkpoint_without_a_state_dict(tmp_path: Path) -> None:
    saved = published.dictionary({"epoch": b"K\x5a", "ema": b"}", "model": b"N"})
    path = published.write_zip(tmp_path / "net.pth", saved, {})
    with pytest.raises(UserError, match=r"no state dict; its keys are epoch, ema, model; save mod"):
        read_weights(path)


@pytest.mark.parametrize("write", [published.write_zip, published.write_legacy])
def test_hostile_pickle_is_not_executed(write, tmp_path: Path) -> None:
    command = published.text(f"touch {tmp_path / 'executed'}")
    saved = published.dictionary({"features.0.weight": b"cos\nsystem\n(" + command + b"tR"})
    path = write(tmp_path / "net.pth", saved, {})
    message = r"^--weights=.*: it has no state dict; its keys are features\.0\.weight; save"
    with pytest.raises(UserError, match=message):
        import_weights(published.recipe(torchvision), path, tmp_path / "run", published.NAMES)
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


DAMAGED = r"it is not a state dict of PyTorch .*, or damaged$"


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (b"]", DAMAGED),
        (
            published.dictionary({"state_dict": b"N"}),
            r"it has no state dict; its keys are state_dict; save",
        ),
        (published.dictionary({"a": published.tensor("nowhere", (3,), (1,))}), DAMAGED),
        (
            published.dictionary({"a": published.tensor("0", (3,), (1,), kind="O")}),
            r"it has tensors of torch\.OStorage; save",
        ),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR",
            r"it has an object, torch\._utils\._rebuild_tensor_v2; save",
        ),
        (b"ctorch\nFloatStorage\n}" + published.text("a") + b"K\x01sb", DAMAGED),
        (b"(" * 10**5 + b"t" * 10**5, DAMAGED),
    ],
    ids=range(7),
)
def test_invalid_pickle_is_rejected(saved: bytes, message: str, tmp_path: Path) -> None:
    path = published.write_zip(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match=message):
        read_weights(path)


def test_names_that_are_not_strings_are_ignored(tmp_path: Path) -> None:
    saved = b"}K\x01" + published.tensor("0", (3,), (1,)) + b"s"
    path = published.write_zip(tmp_path / "net.pth", saved, {"0": np.zeros(10, np.float32)})
    with pytest.raises(UserError, match=r"it has no state dict; its keys are 1; save"):
        read_weights(path)


def test_large_memo_index_in_a_pickle_allocates_no_memory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its keys are nothing"):  # C's unpickler takes 34 GB here
        read_weights(published.write_zip(tmp_path / "net.pth", b"}r\xff\xff\xff\x7f", {}))


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
