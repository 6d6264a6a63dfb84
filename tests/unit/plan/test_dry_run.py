"""What a run will need, from a few of its steps."""

import re
import shutil
from pathlib import Path

import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from src.cli.app import run_command
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.errors import UserError
from src.main import FLAGS, main
from src.plan.dry_run import dry_run
from src.training import step
from src.training.loss import Loss, plain
from src.training.step import TrainStep, make_train_step
from tests.support import format1
from tests.support.runs import arguments


def test_dry_run_tells_memory_disk_and_time_and_keeps_nothing(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert run_command(main, FLAGS, None, [*arguments(workdir, cache), "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < 80
    lines = text.replace("\n" + " " * 10, " ").splitlines()
    lines = {line[:10].strip(): line[10:] for line in lines}
    assert lines["images"] == "digits: 1,437 to train, 360 to evaluate (test), 10 classes"
    assert re.match(r"[\d.]+ MB on each device, [\d.]+ MB for 8 of [\d.,]+ MB", lines["memory"])
    (parameters,) = re.findall(r"([\d,]+) parameters", lines["network"])
    size = 8 * int(parameters.replace(",", "")) / 1e6  # with velocities
    expected = rf"{size:.1f} MB a checkpoint; the 2 newest and the best are kept: {3 * size:.1f} MB"
    assert lines["disk"].startswith(expected)
    assert re.match(r"[\d.e-]+ s a step, [\d,]+ images/s: about .* with 2 eval", lines["time"])
    assert not workdir.exists()


def test_dry_run_compiles_the_step_of_the_run_alone(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []

    def recorded(config: ConfigDict, num_classes: int, mesh: Mesh, loss: Loss = plain) -> TrainStep:
        losses.append(loss)
        return make_train_step(config, num_classes, mesh, loss)

    monkeypatch.setattr(step, "make_train_step", recorded)
    config = format1.recipe(cache / "prepared")
    config.label_smoothing = 0.1
    dry_run(config, tmp_path / "run", ProcessGroup(process_info({}), config.processes))
    assert len(losses) == 1
    assert losses[0] is not plain


def test_dry_run_refuses_what_training_would(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*arguments(format1.WORKDIR, cache), "--dry_run", "--config.seed=7"]
    assert run_command(main, FLAGS, None, argv) == 2
    assert re.search(
        r"its run has other settings: .*config\.seed was \d+ and is 7", capsys.readouterr().err
    )


def test_dry_run_accepts_a_longer_duration_and_leaves_the_run(tmp_path: Path, cache: Path) -> None:
    workdir = shutil.copytree(format1.WORKDIR, tmp_path / "run")
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    config = format1.recipe(cache / "prepared")
    group = ProcessGroup(process_info({}), config.processes)
    config.duration = "12 steps"
    assert "images/s" in dry_run(config, workdir, group)
    config.duration = "6 steps"
    with pytest.raises(UserError, match="'6 steps' ends at step 6, before the run's step 8"):
        dry_run(config, workdir, group)
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before
