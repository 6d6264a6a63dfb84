"""Caffe's two networks in .caffemodel and .npy files, and its mean image."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from configs import bvlc_alexnet, caffenet
from src.convert.importing import import_weights
from src.convert.tensor_layout import Layers
from src.convert.weight_files import read_mean, read_weights
from src.errors import UserError
from src.inference.classifier import load
from src.runs.checkpoint import Checkpointer
from src.runs.lock import lock
from src.runs.preprocessing import read_preprocessing
from tests.support import miniature, published

IMAGES = np.random.default_rng(0).integers(
    0, 256, (3, published.SIZE, published.SIZE, 3), dtype=np.uint8
)
CONFIG = published.recipe(bvlc_alexnet)
LAYERS = published.random_layers(CONFIG)


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def caffe_probabilities(layers: Layers, images: np.ndarray, pools_first: bool) -> np.ndarray:
    """Caffe's arithmetic on BGR inputs (N, C, H, W), with weights in Caffe's layout."""

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

    start, crop = (published.SIZE - published.CROP) // 2, published.CROP
    center = images[:, start : start + crop, start : start + crop]
    bgr = center[..., ::-1].transpose(0, 3, 1, 2)
    x = bgr - np.array([104.00698793, 116.66876762, 122.67891434])[:, None, None]
    x = pool_and_norm(conv(x, "conv1", stride=4))
    x = pool_and_norm(conv(x, "conv2", pad=2, groups=2))
    x = conv(conv(x, "conv3", pad=1), "conv4", pad=1, groups=2)
    x = pool(conv(x, "conv5", pad=1, groups=2)).reshape(len(x), -1)
    for name in ("fc6", "fc7"):
        x = np.maximum(x @ layers[name][0].T + layers[name][1], 0)
    return softmax(x @ layers["fc8"][0].T + layers["fc8"][1])


@pytest.mark.parametrize("kind", ["new", "old", "npy"])
@pytest.mark.parametrize("module", [bvlc_alexnet, caffenet])
def test_imported_caffe_network_matches_caffes_arithmetic(
    module: Any, kind: str, tmp_path: Path
) -> None:
    config = published.recipe(module)
    path = tmp_path / "net.caffemodel"
    if kind == "npy":
        pairs = {name: list(pair) for name, pair in published.tensorflow_layout(LAYERS).items()}
        path = published.write_npy(tmp_path / "net.npy", pairs)
    else:
        path.write_bytes(published.caffemodel(LAYERS, config, kind))
    import_weights(config, path, tmp_path / "run", published.NAMES)
    probabilities = load(tmp_path / "run", mesh=miniature.mesh(1, 1))(IMAGES)
    expected = caffe_probabilities(LAYERS, IMAGES, pools_first=module is caffenet)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    # The examples distinguish the two orders of layers.
    other = caffe_probabilities(LAYERS, IMAGES, pools_first=module is not caffenet)
    assert np.abs(expected - other).max() > 1e-3


def test_import_that_a_full_disk_stopped_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, workdir = tmp_path / "net.caffemodel", tmp_path / "run"
    path.write_bytes(published.caffemodel(LAYERS, CONFIG))
    with monkeypatch.context() as full_disk:
        full_disk.setattr(Checkpointer, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            import_weights(CONFIG, path, workdir, published.NAMES)
    import_weights(CONFIG, path, workdir, published.NAMES)
    assert load(workdir, mesh=miniature.mesh(1, 1)).class_names == published.NAMES
    with pytest.raises(UserError, match="it already has a run"):
        import_weights(CONFIG, path, workdir, published.NAMES)


def test_import_into_a_run_that_trains_is_refused(tmp_path: Path) -> None:
    path, workdir = tmp_path / "net.caffemodel", tmp_path / "run"
    path.write_bytes(published.caffemodel(LAYERS, CONFIG))
    with (
        lock(workdir, "training"),
        pytest.raises(UserError, match="another process is training in it"),
    ):
        import_weights(CONFIG, path, workdir, published.NAMES)
    assert [file.name for file in workdir.iterdir()] == ["lock"]


CONV1, CONV1_BIASES = map(published.new_blob, LAYERS["conv1"])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            published.new_layer("fc6", published.blob((32, 8, 2, 2), np.zeros(1024)), b""),
            r"a blob of \(0, 0, 0, 0\) has 0 values",
        ),
        (
            published.new_layer("conv1", published.blob((2**32, 2**32), np.zeros(0))),
            r"damaged: a blob of \(4294967296, 4294967296\) has 0 values",
        ),
        (
            published.new_layer("conv1", published.blob((-3, -4), np.zeros(12))),
            r"damaged: a blob of \(-3, -4\) has 12 values",
        ),
        (
            published.new_layer("conv1", published.blob((12,), np.zeros(12)), CONV1_BIASES),
            "not a .caffemodel of Caffe's AlexNet or CaffeNet, or damaged",
        ),
        (
            published.new_layer("conv1", published.blob((1,), np.array([np.inf])), CONV1_BIASES),
            "conv1 has values that are not finite",
        ),
        (
            published.new_layer("%", CONV1, CONV1_BIASES).replace(b"%", b"\xff"),  # no UTF-8
            "not a .caffemodel of Caffe's AlexNet or CaffeNet, or damaged",
        ),
    ],
    ids=["empty", "overflowing", "negative", "one axis", "infinite", "no name"],
)
def test_caffemodel_with_invalid_layer_is_rejected(
    layer: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(published.caffemodel(LAYERS, CONFIG) + layer)
    with pytest.raises(UserError, match=rf"^--weights=.*caffemodel: .*{message}"):
        read_weights(path)


def test_fully_convolutional_network_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    weights, biases = LAYERS["fc6"]
    layers = {**LAYERS, "fc6": (weights.reshape(32, 8, 2, 2), biases)}
    path.write_bytes(published.caffemodel(layers, CONFIG))
    with pytest.raises(UserError, match=r"fc6 has weights of \(32, 8, 2, 2\) .* \(32, 32\)"):
        import_weights(CONFIG, path, tmp_path / "run", published.NAMES)


def test_network_without_normalization_is_rejected(tmp_path: Path) -> None:
    layers = (published.new_layer(n, *map(published.new_blob, pair)) for n, pair in LAYERS.items())
    (tmp_path / "net.caffemodel").write_bytes(b"".join(layers))
    with pytest.raises(UserError, match="norm1 or pool1 of Caffe's AlexNet and CaffeNet is"):
        read_weights(tmp_path / "net.caffemodel")


BGR = (
    np.random.default_rng(2)
    .uniform(90, 130, (3, published.SIZE, published.SIZE))
    .astype(np.float32)
)


@pytest.mark.parametrize("kind", ["binaryproto", "npy"])
def test_mean_image_is_converted_to_rgb(kind: str, tmp_path: Path) -> None:
    mean = tmp_path / f"mean.{kind}"
    if kind == "npy":
        np.save(mean, BGR.astype(np.float64))
    else:
        mean.write_bytes(published.old_blob(BGR))
    (tmp_path / "net.caffemodel").write_bytes(published.caffemodel(LAYERS, CONFIG))
    import_weights(CONFIG, tmp_path / "net.caffemodel", tmp_path / "run", published.NAMES, mean)
    kept = read_preprocessing(tmp_path / "run").statistics.mean
    np.testing.assert_array_equal(kept, BGR[::-1].transpose(1, 2, 0))


def test_mean_color_is_broadcast_to_an_image(tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", [104, 117, 123])
    mean = read_mean(tmp_path / "mean.npy", 2)
    assert mean.shape == (2, 2, 3)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean[1, 0], [123, 117, 104])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (BGR[:, :50, :50], r"it has the shape \(3, 50, 50\), but must be \(3, 104, 104\)"),
        (BGR.transpose(1, 2, 0), r"it has the shape \(104, 104, 3\), but"),
        (BGR.reshape(-1, published.SIZE), r"it has the shape \(312, 104\), but"),
        (np.array([np.nan, 1, 2]), "it has values that are not finite"),
        (np.array(["a", "b", "c"]), "it is not Caffe's mean image, .binaryproto or .npy, or"),
    ],
)
def test_invalid_mean_array_is_rejected(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", array)
    with pytest.raises(UserError, match=rf"^--mean=.*mean\.npy: {message}"):
        read_mean(tmp_path / "mean.npy", published.SIZE)


@pytest.mark.parametrize("name", ["mean.npy", "mean.binaryproto"])
def test_missing_or_damaged_mean_file_is_rejected(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--mean=.*: No such file"):
        read_mean(tmp_path / name, published.SIZE)
    (tmp_path / name).write_bytes(b"\x07nothing of the kind")
    with pytest.raises(UserError, match=r"^--mean=.*: it is not Caffe's mean image"):
        read_mean(tmp_path / name, published.SIZE)
