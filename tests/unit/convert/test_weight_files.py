"""Files of every format that are damaged or do not match the recipe."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from configs import alexnet, bvlc_alexnet, caffenet, chm145, cifar, torchvision
from src.convert.importing import import_weights
from src.errors import UserError
from src.inference.classifier import load
from tests.support import published


def write(kind: str, module: Any, directory: Path) -> tuple[ConfigDict, Path]:
    """A network's recipe and its weights file."""
    config = published.recipe(module)
    path = directory / f"net.{'pth' if kind in ('zip', 'legacy') else kind}"
    if kind == "caffemodel":
        path.write_bytes(published.caffemodel(published.random_layers(config), config))
    elif kind == "npy":
        published.write_npy(path, published.tensorflow_layout(published.random_layers(config)))
    else:
        tensors = published.state_dict(config)
        if kind == "zip":
            published.write_zip(path, published.state_dict_pickle(tensors), tensors)
        elif kind == "legacy":
            published.write_legacy(path, published.state_dict_pickle(tensors, b"N"), tensors)
        else:
            save_file(tensors, path)
    return config, path


TORCHVISION_KINDS = ["zip", "legacy", "safetensors"]
CAFFE_KINDS = ["caffemodel", "npy"]
KINDS = [
    *((kind, torchvision) for kind in TORCHVISION_KINDS),
    *((kind, bvlc_alexnet) for kind in CAFFE_KINDS),
]


@pytest.mark.parametrize(("kind", "module"), KINDS)
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.999])
def test_truncated_file_is_rejected(kind: str, module: Any, share: float, tmp_path: Path) -> None:
    config, path = write(kind, module, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    # The cut can shorten a name in a pickle.
    with pytest.raises(UserError, match=r"^--weights=.*(damaged|missing|calls torch\._)"):
        import_weights(config, path, tmp_path / "run", published.NAMES)


def test_truncated_zip_file_is_damaged_whenever_it_was_saved(tmp_path: Path) -> None:
    """A zip file's first bytes can be opcodes of a pickle: at 20 seconds they hold a line's end."""
    _, path = write("zip", torchvision, tmp_path)
    content = bytearray(path.read_bytes()[:1000])
    content[10] = 10  # a unit of the time is 2 seconds
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^--weights=.*damaged"):
        import_weights(published.recipe(torchvision), path, tmp_path / "run", published.NAMES)


@pytest.mark.parametrize(("kind", "module"), KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_file_with_wrong_bytes_is_rejected(
    kind: str, module: Any, seed: int, tmp_path: Path
) -> None:
    """Every damage ends in a UserError, never in another exception."""
    config, path = write(kind, module, tmp_path)
    random = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for i in random.integers(0, len(content), len(content) // 50):
        content[i] = random.integers(0, 256)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^--weights=.*net\."):
        import_weights(config, path, tmp_path / "run", published.NAMES)


@pytest.mark.parametrize(
    ("kind", "module", "other_module", "field", "recipes"),
    [
        *((kind, torchvision, alexnet, "norms.lrn", ["torchvision"]) for kind in TORCHVISION_KINDS),
        ("caffemodel", bvlc_alexnet, caffenet, "convs.conv1.followed_by", ["bvlc_alexnet"]),
        ("caffemodel", caffenet, bvlc_alexnet, "convs.conv1.followed_by", ["caffenet"]),
        ("caffemodel", bvlc_alexnet, alexnet, "convs.conv1.padding", ["bvlc_alexnet"]),
        ("caffemodel", bvlc_alexnet, chm145, "convs.conv1.padding", ["bvlc_alexnet"]),
        ("caffemodel", bvlc_alexnet, torchvision, "convs.conv1", ["bvlc_alexnet"]),
        ("npy", bvlc_alexnet, alexnet, "convs.conv1.padding", ["bvlc_alexnet", "caffenet"]),
        ("npy", caffenet, torchvision, "convs.conv1", ["bvlc_alexnet", "caffenet"]),
    ],
)
def test_recipe_of_another_network_is_rejected(
    kind: str, module: Any, other_module: Any, field: str, recipes: list[str], tmp_path: Path
) -> None:
    _, path = write(kind, module, tmp_path)
    advice = " or ".join(f"--config=configs/{name}.py" for name in recipes)
    message = rf"^--config: .*{re.escape(field)}.*; give {re.escape(advice)}$"
    config = published.recipe(other_module, "imagenet2012")
    with pytest.raises(UserError, match=message):
        import_weights(config, path, tmp_path / "run", published.NAMES)


def test_recipe_with_another_activation_is_rejected(tmp_path: Path) -> None:
    config, path = write("safetensors", torchvision, tmp_path)
    config.model.dropout = 0.1
    config.model.init = "gaussian"
    import_weights(config, path, tmp_path / "run", published.NAMES)
    config.model.activation = "tanh"
    with pytest.raises(UserError, match=r"activation was 'relu' and is 'tanh'; give --config=conf"):
        import_weights(config, path, tmp_path / "other", published.NAMES)


def test_import_into_the_papers_dropout_scales_the_layers_behind_it(tmp_path: Path) -> None:
    config, path = write("safetensors", torchvision, tmp_path)
    import_weights(config, path, tmp_path / "training", published.NAMES)
    config.model.dropout_scaling = "test"
    import_weights(config, path, tmp_path / "test", published.NAMES)
    theirs, ours = load(tmp_path / "training").params, load(tmp_path / "test").params
    for layer, factor in {"conv5": 1, "fc6": 1, "fc7": 2, "fc8": 2}.items():
        np.testing.assert_array_equal(ours[layer]["kernel"], factor * theirs[layer]["kernel"])
        np.testing.assert_array_equal(ours[layer]["bias"], theirs[layer]["bias"])


def test_recipe_with_another_number_of_layers_is_rejected(tmp_path: Path) -> None:
    _, path = write("safetensors", torchvision, tmp_path)
    with pytest.raises(UserError, match=r"^--config: .*; give --config=configs/torchvision\.py"):
        import_weights(cifar.get_config(), path, tmp_path / "run", published.NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.3.bias"), r"features\.3\.weight or \.bias .* is missing"),
        (
            lambda t: t.update({"classifier.6.weight": np.zeros((9, 24), np.float32)}),
            r"fc8 has weights of \(9, 24\) .* but the recipe's network needs \(7, 24\)",
        ),
        (
            lambda t: t.update({"features.0.weight": np.zeros((12, 3, 7, 7), np.float32)}),
            r"conv1 has weights of \(12, 3, 7, 7\)",
        ),
        (
            lambda t: t.update({"features.0.bias": np.zeros((), np.float32)}),
            r"conv1 has weights of .* and biases of \(\)",
        ),
    ],
)
def test_weights_of_another_network_are_rejected(
    change: Callable[[dict], Any], message: str, tmp_path: Path
) -> None:
    config = published.recipe(torchvision)
    tensors = published.state_dict(config)
    change(tensors)
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=rf"^--weights.*{message}"):
        import_weights(config, tmp_path / "net.safetensors", tmp_path / "run", published.NAMES)


@pytest.mark.parametrize("names", [[], ["one", "two"], [str(i) for i in range(8)]])
def test_wrong_number_of_class_names_is_rejected(names: list[str], tmp_path: Path) -> None:
    config, path = write("safetensors", torchvision, tmp_path)
    message = rf"^--class_names: {len(names)} classes, but fc8 has 7 outputs; give a file of 7 "
    with pytest.raises(UserError, match=message):
        import_weights(config, path, tmp_path / "run", names)


def test_invalid_path_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "directory.npy").mkdir()
    for name, message in (
        ("net.onnx", "its extension must be one of"),
        ("net.pth", "No such file"),
        ("directory.npy", "Is a directory"),
    ):
        with pytest.raises(UserError, match=rf"^--weights=.*{name}: {message}"):
            import_weights(
                published.recipe(torchvision), tmp_path / name, tmp_path / "run", published.NAMES
            )
