"""caffe-to-tensorflow's .npy files: valid layouts, hostile pickles and invalid content."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import bvlc_alexnet
from src.convert.weight_files import read_weights
from src.errors import UserError
from tests.support import published

LAYERS = published.random_layers(published.recipe(bvlc_alexnet))
STORED = published.tensorflow_layout(LAYERS)


def lists() -> dict[str, Any]:
    return {name: list(pair) for name, pair in STORED.items()}


def dictionaries() -> dict[str, Any]:
    return {name: {"biases": b, "weights": w} for name, (w, b) in STORED.items()}


def doubles() -> dict[str, Any]:
    """Big-endian float64, in column-major order."""
    return {
        n: [np.asfortranarray(w).astype(">f8"), b.astype(">f8")] for n, (w, b) in STORED.items()
    }


@pytest.mark.parametrize("layout", [lists, dictionaries, doubles])
@pytest.mark.parametrize("writer", ["python 2", "current numpy"])
def test_all_layouts_give_the_same_layers(layout: Any, writer: str, tmp_path: Path) -> None:
    path = tmp_path / "net.npy"
    if writer == "python 2":
        published.write_npy(path, layout())
    else:
        np.save(path, np.array(layout(), dtype=object), allow_pickle=True)
    layers = read_weights(path).layers
    assert layers.keys() == LAYERS.keys()
    for name, (weights, biases) in LAYERS.items():
        expected = weights[:, ::-1] if name == "conv1" else weights
        np.testing.assert_array_equal(layers[name][0], expected)
        np.testing.assert_array_equal(layers[name][1], biases)


NOT_FROM_CAFFE = "it is not a .npy with float weights and biases of each layer .*, or damaged$"
MAPS = np.zeros((1, 1, 1, 4), np.float32)


def looped() -> dict[str, Any]:
    layers: dict[str, Any] = {}
    layers["conv1"] = [layers, layers]
    return layers


@pytest.mark.parametrize(
    "content",
    [
        None,
        "conv1",
        [MAPS, MAPS],
        {"conv1": 1},
        {"conv1": "ab"},
        {"conv1": [None, None]},
        {"conv1": [1.0, 2.0]},
        {"conv1": [MAPS]},
        {"conv1": [MAPS, MAPS, MAPS]},
        {"conv1": {"weights": MAPS}},
        {"conv1": [[[1.0], [1.0, 2.0]], [1.0]]},
        {"conv1": [np.zeros(3), np.zeros(3)]},
        {"conv1": [np.zeros((1, 1, 3, 4), np.int64), np.zeros(4)]},
        {"conv1": [np.zeros((1, 1, 3, 4), complex), np.zeros(4)]},
        {"conv1": [np.array([None, "a"]), np.zeros(4)]},
        {"conv5": [MAPS, np.zeros(4)], "fc6": [np.zeros(()), np.zeros(3)]},
        {"conv5": [MAPS, np.zeros(())], "fc6": [np.zeros((4, 4)), np.zeros(3)]},
        looped(),
    ],
    ids=repr,
)
def test_invalid_content_is_rejected(content: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=NOT_FROM_CAFFE):
        read_weights(published.write_npy(tmp_path / "net.npy", content))


def test_values_that_are_not_finite_are_rejected(tmp_path: Path) -> None:
    layers = {"conv1": [np.full((1, 1, 3, 4), np.nan), np.zeros(4)]}
    with pytest.raises(UserError, match="conv1 has values that are not finite"):
        read_weights(published.write_npy(tmp_path / "net.npy", layers))


def test_plain_array_is_rejected(tmp_path: Path) -> None:
    np.save(tmp_path / "net.npy", np.zeros((3, 3)))
    with pytest.raises(UserError, match=NOT_FROM_CAFFE):
        read_weights(tmp_path / "net.npy")


# Pickles that make NumPy interpret bytes as the addresses of objects

OBJECT = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
FIELDS = b"(I3\nS'|'\nN(S'a'\nt}S'a'\n(" + OBJECT + b"I0\ntsI8\nI1\nI0\nt"
HIDDEN = b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR" + FIELDS + b"b"  # an object whose flags say otherwise
RECONSTRUCTED = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
BYTES = b"c_codecs\nencode\n(S'AAAAAAAA'\nS'latin1'\ntR"


def state(shape: bytes, kind: bytes, content: bytes) -> bytes:
    return b"(I1\n(" + shape + b"t" + kind + b"I00\n" + content + b"tb"


@pytest.mark.parametrize(
    "array",
    [
        b"cnumpy\nndarray\n()S'O'\n" + BYTES + b"tR",
        b"cnumpy\nndarray\n()" + HIDDEN + BYTES + b"tR",
        b"cnumpy\nndarray\n(J\x10\x00\x00\x00tS'O'\n\x86R",
        RECONSTRUCTED + state(b"I1\n", OBJECT, BYTES),
        RECONSTRUCTED + state(b"I1\n", HIDDEN, BYTES),
        RECONSTRUCTED + state(b"", HIDDEN, b"S'AAAAAAAA'\n"),
        RECONSTRUCTED
        + state(b"I1000000000\n", b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR", b"S'AAAAAAAA'\n"),
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR",
        b"cnumpy\ndtype\nN}S'name'\nI1\ns\x86b",
        b"cnumpy\nndarray\nN}S'made'\nI1\ns\x86b",
    ],
)
def test_array_from_a_hostile_pickle_is_rejected(array: bytes, tmp_path: Path) -> None:
    box = RECONSTRUCTED + b"(I1\n(t" + OBJECT + b"I00\n]"
    layers = b"}S'conv1'\n]" + array + b"a" + array + b"as"
    for program in (array, box + array + b"atb", box + layers + b"atb"):
        path = published.write_npy_pickle(tmp_path / "net.npy", b"\x80\x02" + program + b".")
        with pytest.raises(UserError, match=NOT_FROM_CAFFE):
            read_weights(path)


def test_hostile_pickle_is_not_executed(tmp_path: Path) -> None:
    command = published.text(f"touch {tmp_path / 'executed'}")
    program = b"\x80\x02cos\nsystem\n(" + command + b"tR."
    with pytest.raises(UserError, match=NOT_FROM_CAFFE):
        read_weights(published.write_npy_pickle(tmp_path / "net.npy", program))
    assert not (tmp_path / "executed").exists()


def test_plain_pickle_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=NOT_FROM_CAFFE):
        read_weights(published.write_npy_pickle(tmp_path / "net.npy", pickle.dumps({"conv1": 1})))
