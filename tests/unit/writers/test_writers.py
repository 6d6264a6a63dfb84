"""TensorBoard, Weights & Biases and MLflow, each read back."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from src.errors import UserError
from src.training.validation import validate_config
from src.writers import JsonLines, Writer, make_writers
from tests.support import miniature, tiny

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
RESULT = {"loss": 0.5, "top1_error": 0.125, "top5_error": 0.0, "examples": 360}


def recipe(*names: str) -> ConfigDict:
    config = tiny.get_config()
    config.writers = names
    return config


def open_writer(workdir: Path, name: str, start: int = 0) -> Writer:
    """The writer of this name, without that of metrics.jsonl."""
    workdir.mkdir(exist_ok=True)
    lines, writer = make_writers(workdir, start, recipe(name), miniature.mesh(1, 2))
    lines.close()
    return writer


def write(writer: Writer, values: dict[str, Iterable[float]], split: str = "train") -> None:
    """Writes the values of metrics at the steps 1, 2, …"""
    for step, row in enumerate(zip(*values.values(), strict=True), 1):
        writer.write(step, step / 10, split, dict(zip(values, row, strict=True)))


def points(directory: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(directory)).Reload()
    tags = events.Tags()["scalars"]
    return [(e.step, e.value) for e in events.Scalars(tag)] if tag in tags else []


def test_splits_share_a_chart_of_each_metric(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, "tensorboard")
    write(writer, {"loss": [4, 3], "top1_error": [0.5, 0.25]})
    write(writer, {"loss": [5, 2], "top1_error": [0.75, 0.5]}, "test")
    writer.close()
    assert points(tmp_path / "events/train", "metrics/loss") == [(1, 4), (2, 3)]
    assert points(tmp_path / "events/test", "metrics/loss") == [(1, 5), (2, 2)]


def test_run_has_its_settings_images_and_final_errors(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, "tensorboard")
    writer.write_images(12, {"network/confusion": IMAGE})
    writer.finish(24, RESULT)
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    session = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(session).hparams
    assert settings["batch_size"].number_value == 32
    assert settings["mesh"].string_value == "1 × 2 (data × model)"
    described = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    infos = metadata.parse_experiment_plugin_data(described).metric_infos
    assert points(tmp_path, infos[0].name.tag) == [(24, 0.125)]
    (image,) = events.Images("network/confusion")
    assert (image.step, image.width, image.height) == (12, 4, 4)
    (text,) = events.Tensors("configuration/text_summary")
    assert "| schedule.learning_rate | `0.01` |" in text.tensor_proto.string_val[0].decode()


def test_constant_has_no_chart_until_it_changes(tmp_path: Path) -> None:
    values = {"data_wait": [0.0] * 5, "learning_rate": [0.1, 0.1, 0.1, 0.01, 0.01]}
    writer = open_writer(tmp_path, "tensorboard")
    write(writer, {"loss": [1.0] * 5, **values})
    writer.close()
    train = tmp_path / "events/train"
    assert points(train, "training/data_wait") == []
    expected = [(1, 0.1), (3, 0.1), (4, 0.01), (5, 0.01)]
    assert points(train, "training/learning_rate") == pytest.approx(np.array(expected))
    assert len(points(train, "metrics/loss")) == 5


def test_resumed_run_goes_on_with_charts_that_have_changed(tmp_path: Path) -> None:
    lines, writer = make_writers(tmp_path, 0, recipe("tensorboard"), miniature.mesh(1, 1))
    for each in (lines, writer):
        write(each, {"learning_rate": [0.1, 0.01]})
        each.close()
    writer = open_writer(tmp_path, "tensorboard", start=2)
    writer.write(3, 0.3, "train", {"learning_rate": 0.01})
    writer.close()
    last = max((tmp_path / "events/train").iterdir())
    assert points(last, "training/learning_rate")[-1] == pytest.approx((3, 0.01))


def test_unknown_writer_is_refused() -> None:
    with pytest.raises(UserError, match=r"config\.writers: 'tensorbord' is not allowed; choose"):
        validate_config(recipe("tensorboard", "tensorbord"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_writer_without_its_package_is_refused(name: str) -> None:
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(
        UserError, match=rf"{name} is not installed; run pip install -e '\.\[{name}"
    ):
        validate_config(recipe("tensorboard," + name))  # as --config.writers=tensorboard,NAME


def stop_and_resume(workdir: Path, name: str) -> None:
    for start in (0, 2):
        writer = open_writer(workdir, name, start)
        writer.write(start + 1, 0.1, "train", {"loss": 2.0 - start})
        writer.write_images(start + 1, {"network/confusion": IMAGE})
        if start:
            writer.finish(3, RESULT)
        writer.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_resumed_run_is_the_same_in_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stop_and_resume(tmp_path, "mlflow")
    client = tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("alexnet").experiment_id])
    assert (run.info.run_name, run.info.status) == (tmp_path.name, "FINISHED")
    assert run.data.params["batch_size"] == "32"
    assert run.data.metrics["final/top1_error"] == 0.125
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 2), (3, 0)]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {
        "configuration.json",
        "images",
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_resumed_run_is_the_same_in_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    stop_and_resume(tmp_path, "wandb")
    name = (tmp_path / "wandb/id").read_text()
    files = list((tmp_path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert {path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-*")} == {
        name
    }
    for file in files:
        content = file.read_bytes()
        for key in (b"train/loss", b"network/confusion", b"final/top1_error", b"batch_size"):
            assert key in content


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_service_that_refuses_the_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"config\.writers: mlflow: .*127\.0\.0\.1"):
        open_writer(tmp_path, "mlflow")


def test_full_disk_is_named_with_the_file_of_metrics(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    writer = JsonLines(tmp_path)
    with pytest.raises(OSError, match=r"No space left on device: '.*/metrics\.jsonl'"):
        writer.write(1, 0.1, "train", {"loss": 1.0})
    with pytest.raises(OSError, match=r"No space left on device: '.*/metrics\.jsonl'"):
        writer.close()
