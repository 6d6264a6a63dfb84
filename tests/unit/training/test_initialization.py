"""Fine-tuning: a run that begins with another's network, and layers that stay as they are."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from src.distributed.mesh import replicate, to_devices
from src.errors import UserError
from src.inference.classifier import load
from src.models.architecture import Architecture
from src.models.factory import graphdef
from src.runs.preprocessing import read_preprocessing
from src.runs.provenance import read_origin
from src.training.initialization import initial_state
from src.training.state import create_state
from src.training.step import make_train_step
from src.training.validation import validate_config
from tests.support import format1, miniature, tiny
from tests.support.runs import trained, untrained


def recipe(root: Path, **changes: str) -> ConfigDict:
    config = tiny.get_config()
    config.data.root = str(root / "prepared")
    config.duration = "3 steps"
    config.update_from_flattened_dict(changes)
    return config


def run(config: ConfigDict, workdir: Path) -> dict:
    validate_config(config)
    return jax.tree.map(np.asarray, load(trained(config, workdir)).params)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("initial")


@pytest.fixture(scope="module")
def before(root: Path) -> dict:
    workdir = untrained(recipe(root), root / "before")
    return jax.tree.map(np.asarray, load(workdir, mesh=miniature.mesh(1, 1)).params)


@pytest.fixture(scope="module")
def three_classes(root: Path) -> str:
    folder = root / "three"
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b", "c"):
            (folder / split / name).mkdir(parents=True)
            for i in range(16):
                pixels = random.integers(0, 256, (80, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return f"folder:{folder}"


def test_frozen_layers_stay_as_they_were_and_the_others_learn(root: Path, before: dict) -> None:
    config = recipe(root, init_from=str(root / "before"))
    config.optimizer.frozen_layers = "conv*,fc6"
    after = run(config, root / "frozen")
    for layer in before:
        is_same = jax.tree.map(np.array_equal, before[layer], after[layer])
        assert all(is_same.values()) == (layer not in ("fc7", "fc8")), layer


def test_other_classes_get_a_new_last_layer(root: Path, before: dict, three_classes: str) -> None:
    config = recipe(root, init_from=str(root / "before"))
    config.data.dataset = three_classes
    config.optimizer.frozen_layers = "conv*,fc6,fc7"
    config.seed = 1  # by which all layers would be others
    after = run(config, root / "classes")
    for layer in before.keys() - {"fc8"}:
        jax.tree.map(np.testing.assert_array_equal, after[layer], before[layer])
    assert after["fc8"]["kernel"].shape == (2, tiny.UNITS["fc7"], 2)
    origin = {"dataset": "digits", "weights_from": None, "origin": None}
    assert read_origin(root / "classes") == origin


def test_run_resumes_without_the_run_it_started_from(root: Path, before: dict) -> None:
    (root / "gone").symlink_to(root / "before")
    config = recipe(root, init_from=str(root / "gone"))
    workdir = root / "resumed"
    config.duration = "1 step"
    run(config, workdir)
    (root / "gone").unlink()
    # As if it had been stopped there: two steps were asked for, and there is no result.
    settings_file = workdir / "config.json"
    settings_file.write_text(settings_file.read_text().replace('"1 step"', '"2 steps"'))
    (workdir / "result.json").unlink()
    config.duration = "2 steps"
    run(config, workdir)
    assert json.loads((workdir / "result.json").read_text())["step"] == 2
    assert read_origin(workdir) is not None


def test_origin_names_all_earlier_runs(root: Path, three_classes: str, tmp_path: Path) -> None:
    provenance = {"kind": "torchvision's AlexNet", "file": "net.pth", "sha256": "7be5"}
    first = untrained(recipe(root), tmp_path / "first")
    (first / "provenance.json").write_text(json.dumps(provenance))
    changes = {"data.dataset": three_classes, "init_from": str(first)}
    second = untrained(recipe(root, **changes), tmp_path / "second")
    third = untrained(recipe(root, init_from=str(second)), tmp_path / "third")
    origin = {"dataset": "digits", "weights_from": provenance, "origin": None}
    assert read_origin(first) is None
    assert read_origin(third) == {
        "dataset": three_classes,
        "weights_from": None,
        "origin": origin,
    }


def test_failed_start_leaves_no_origin(root: Path, before: dict, tmp_path: Path) -> None:
    workdir = untrained(recipe(root, init_from=str(root / "before")), tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints")
    assert read_origin(untrained(recipe(root), workdir)) is None


@pytest.mark.parametrize(("which", "step"), [("newest", 8), ("best", 4)])
def test_init_checkpoint_chooses_the_weights_to_start_from(
    which: str, step: int, tmp_path: Path
) -> None:
    first = shutil.copytree(format1.WORKDIR, tmp_path / "run")
    progress = first / "checkpoints/8/progress/metadata"
    progress.write_text(progress.read_text().replace('"best_step": 8', '"best_step": 4'))
    config, mesh = format1.recipe(tmp_path), miniature.mesh(1, 1)
    config.init_from, config.init_checkpoint = str(first), which
    state = initial_state(config, read_preprocessing(first).class_names, mesh)
    shutil.rmtree(first / f"checkpoints/{12 - step}")
    expected = load(first, mesh=mesh).params
    jax.tree.map(np.testing.assert_array_equal, state.params, expected)


def test_another_network_is_refused(root: Path, before: dict) -> None:
    config = recipe(root, init_from=str(root / "before"))
    config.model.convs.conv3.maps = 32
    config.model.dropout = 0.25  # may differ
    with pytest.raises(UserError, match=r"config\.model\.convs\.conv3\.maps was 24 and is 32;"):
        run(config, root / "refused")
    config = recipe(root, init_from=str(root / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere: it has no config\.json"):
        run(config, root / "refused")


@pytest.mark.parametrize(
    ("dropout", "scaling"), [(0.25, "training"), (0.25, "test"), (0.0, "test")]
)
def test_network_computes_the_same_after_a_start_with_another_dropout(
    root: Path, before: dict, dropout: float, scaling: str
) -> None:
    config = recipe(root, init_from=str(root / "before"))
    config.model.dropout, config.model.dropout_scaling = dropout, scaling
    classes = [str(digit) for digit in range(10)]
    state = initial_state(config, classes, miniature.mesh(1, 1))
    images = miniature.images_for(Architecture.from_config(config.model))
    logits = []
    for model, params in [(recipe(root).model, before), (config.model, state.params)]:
        graph = graphdef(Architecture.from_config(model), num_classes=10)
        logits.append(np.asarray(nnx.merge(graph, params)(images)))
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        ("conv*,fc9", r"pattern 'fc9' matches no layer \(layers: conv1"),
        ("*", "leaves no layer to train"),
    ],
)
def test_patterns_that_make_no_sense(root: Path, frozen: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate_config(recipe(root, **{"optimizer.frozen_layers": frozen}))


def test_the_backward_pass_ends_at_the_last_frozen_layer() -> None:
    """As many convolutions and products as the layers that learn need."""

    def count(frozen: str) -> int:
        config = miniature.config()
        config.optimizer.frozen_layers = frozen
        config.cpu_kernels = "plain"
        mesh = miniature.mesh(1, 1)
        state = create_state(config, miniature.NUM_CLASSES, mesh)
        batch = to_devices(mesh, miniature.batch(config), config.batch_size)
        statistics = replicate(mesh, miniature.statistics())
        step = make_train_step(config, miniature.NUM_CLASSES, mesh)
        text = step.lower(state, batch, statistics, jnp.float32(0.1)).as_text()
        return text.count("stablehlo.convolution")

    forward = 2 * 5  # convolutions, one a tower and layer
    assert count("") == 3 * forward - 2  # but none for the gradient to the image
    assert count("conv*") == forward
