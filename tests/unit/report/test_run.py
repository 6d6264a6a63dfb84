"""What the page knows about a run besides its images: how it began, its recipe, its devices."""

from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.figures import layers
from src.models.cifar import PRESETS as CIFAR
from src.models.factory import init_params
from src.report import devices
from src.report.run import Run
from src.report.summary import preset_differences, summarize
from src.runs.defaults import default_config


@pytest.fixture
def run(workdir: Path) -> Run:
    return Run(workdir)


def test_initial_kernels_are_those_of_the_seed_or_of_the_first_run(
    run: Run, workdir: Path, tmp_path: Path
) -> None:
    key, _ = jax.random.split(jax.random.key(run.config.seed))
    drawn = init_params(run.architecture, len(run.class_names), key)["conv1"]["kernel"]
    initial = run.initial_kernels("conv1")
    assert initial is not None
    np.testing.assert_allclose(initial, drawn, rtol=1e-5, atol=1e-7)
    assert np.abs(run.kernels("conv1") - initial).max() > 1e-4
    run.config.init_from = str(workdir)
    np.testing.assert_array_equal(run.initial_kernels("conv1"), run.kernels("conv1"))
    run.config.init_from = str(tmp_path / "gone")
    assert run.initial_kernels("conv1") is None


def test_a_folder_has_a_name_however_it_is_given(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.config.data.dataset = "folder:."
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path / "flowers")
    assert summarize(run, None, None)["dataset"] == "flowers"


def test_differences_are_those_from_the_nearest_preset() -> None:
    config = default_config()
    assert preset_differences(config) == ("AlexNet (paper)", [])
    config.batch_size, config.model.convs.conv1.maps = 32, 64
    assert preset_differences(config) == (
        "AlexNet (paper)", [("batch_size", 128, 32), ("model.convs.conv1.maps", 96, 64)],
    )  # fmt: skip
    config.model = ConfigDict(asdict(CIFAR["80sec"]))
    assert preset_differences(config) == ("cuda-convnet's 80sec", [("batch_size", 128, 32)])


def test_devices_send_the_maps_that_the_figure_counts(run: Run) -> None:
    shown = devices.section(run)
    assert shown is not None
    shards, _ = shown["shape"]
    assert [device["towers"] for device in shown["devices"]] == ["1", "2"] * shards
    rows = run.config.batch_size // shards
    assert shown["devices"][-1]["images"] == f"{32 - rows + 1} to 32"
    sent = layers.describe(run.architecture, len(run.class_names)).sent
    for kind in ("all-gather", "reduce-scatter"):
        found = [row for row in shown["collectives"] if row["kind"] == kind]
        assert [row["axis"] for row in found] == ["towers"] * 4
        assert sum(row["bytes"] for row in found) == sent * 4 * rows
    run.config.accumulate = 2
    assert devices.section(run) == {**shown, "collectives": None}
    run.config.batch_size = 31
    assert (devices.section(run) is None) == (shards > 1)
