"""A run that is stopped, killed or damaged ends where an uninterrupted one does."""

import json
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest

from src.errors import EXIT_PREEMPTED, DivergedError, UserError
from src.inference.classifier import load
from src.runs.checkpoint import Checkpointer
from src.training.schedule import Steps
from src.training.state import Progress, abstract_state
from tests.support import miniature, tiny
from tests.support.commands import call, start
from tests.support.interrupted import copy_of, flip_a_bit, interrupt, train
from tests.support.runs import arguments, assert_same_run, steps_done, trained

TOTAL = 24


@pytest.fixture
def train_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Like `train`, but in this process, on the mesh of `digits_run`; returns the status."""
    monkeypatch.setattr("src.main.exit_on_signal", lambda: None)

    return lambda workdir, *more: call("src.main", *arguments(workdir, cache, *more))


@pytest.fixture(scope="module")
def uninterrupted(cache: Path) -> Path:
    workdir = cache / "uninterrupted"
    done = train(workdir, cache)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_stopped_run_saves_its_step_and_resumes_bitwise(
    number: signal.Signals, tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    status, output = interrupt(tmp_path, cache, number, lambda: steps_done(tmp_path) >= 6)
    assert status == EXIT_PREEMPTED
    assert "stopped after step" in output
    assert "Traceback" not in output
    assert not (tmp_path / "result.json").exists()
    assert train(tmp_path, cache).returncode == 0
    assert_same_run(tmp_path, uninterrupted)


def test_run_killed_at_random_moments_resumes_bitwise(
    tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    moments = random.Random(0)
    for _ in range(3):
        first = steps_done(tmp_path)
        delay = moments.uniform(0, 0.3)

        def when(first: int = first, delay: float = delay) -> bool:
            if steps_done(tmp_path) == first:
                return False
            time.sleep(delay)
            return True

        status, output = interrupt(tmp_path, cache, signal.SIGKILL, when)
        if status == 0:
            break
        assert status == -signal.SIGKILL, output
    assert train(tmp_path, cache).returncode == 0
    assert_same_run(tmp_path, uninterrupted)


def test_run_killed_during_a_save_resumes_bitwise(
    tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    def is_saving() -> bool:
        checkpoints = list((tmp_path / "checkpoints").glob("*"))
        finished = [path for path in checkpoints if path.name.isdigit()]
        return bool(finished) and len(checkpoints) > len(finished)

    status, output = interrupt(tmp_path, cache, signal.SIGKILL, is_saving)
    assert status == -signal.SIGKILL, output
    assert train(tmp_path, cache).returncode == 0
    assert_same_run(tmp_path, uninterrupted)
    left = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert all(name.isdigit() for name in left), left


def test_interruption_between_train_lines_changes_no_line(tmp_path: Path, cache: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert train(whole, cache, "--config.log_every=7").returncode == 0
    copy_of(whole, resumed)
    shutil.rmtree(resumed / f"checkpoints/{TOTAL}")  # as if killed before the last was written
    assert train(resumed, cache, "--config.log_every=7").returncode == 0
    assert_same_run(resumed, whole)


def test_checkpoint_without_pending_metrics_is_restored(
    tmp_path: Path, uninterrupted: Path
) -> None:
    workdir = copy_of(uninterrupted, tmp_path / "run")
    file = workdir / f"checkpoints/{TOTAL}/progress/metadata"
    progress = json.loads(file.read_text())
    del progress["pending_metrics"], progress["checksums"]["progress"]
    file.write_text(json.dumps(progress))
    like = abstract_state(tiny.get_config(), 10, miniature.mesh(1, 1))
    with Checkpointer(workdir) as checkpointer:
        checkpoint = checkpointer.restore({"params": like.params, "velocity": like.velocity})
    assert checkpoint is not None
    assert Progress(**checkpoint.progress).pending_metrics == []


def test_run_resumes_on_another_mesh(tmp_path: Path, cache: Path, uninterrupted: Path) -> None:
    status, _ = interrupt(
        tmp_path, cache, signal.SIGTERM, lambda: steps_done(tmp_path) >= 6, "--cpu_devices=4"
    )
    assert status == EXIT_PREEMPTED
    assert train(tmp_path, cache).returncode == 0
    assert_same_run(tmp_path, uninterrupted, tolerance=1e-5)


def test_finished_run_is_reported(
    train_here: Callable[..., int], digits_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_here(digits_run) == 0
    assert "is finished" in capsys.readouterr().out
    result = json.loads((digits_run / "result.json").read_text())
    assert result["step"] == TOTAL
    assert result["examples"] == 360
    assert {"top1_error", "top5_error", "views", "epochs", "seconds"} <= result.keys()


def test_change_that_is_refused_leaves_a_finished_run_as_it_was(
    tmp_path: Path,
    train_here: Callable[..., int],
    digits_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workdir = Path(shutil.copytree(digits_run, tmp_path / "run"))
    before = [(workdir / name).read_text() for name in ("config.json", "result.json")]
    assert train_here(workdir, "--config.duration=30 steps", "--config.mesh.data=7") == 2
    assert "config.mesh" in capsys.readouterr().err
    assert [(workdir / name).read_text() for name in ("config.json", "result.json")] == before


def test_directory_in_which_another_run_trains_is_rejected(tmp_path: Path, cache: Path) -> None:
    long = "--config.duration=100000 steps"
    with start("src.main", *arguments(tmp_path, cache, long), cache=cache) as process:
        while process.poll() is None and not steps_done(tmp_path):
            time.sleep(0.01)
        done = train(tmp_path, cache, long)
        assert done.returncode == 2
        assert done.stderr.endswith("wait for its end, or give another --workdir\n")
        before = steps_done(tmp_path)
        while process.poll() is None and steps_done(tmp_path) == before:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)  # which lets go of the folder
        process.communicate()
    killed_at = steps_done(tmp_path)
    status, output = interrupt(
        tmp_path, cache, signal.SIGTERM, lambda: steps_done(tmp_path) > killed_at, long
    )
    assert status == EXIT_PREEMPTED, output


def test_failure_without_damage_sets_no_checkpoint_aside(
    tmp_path: Path, cache: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = copy_of(uninterrupted, tmp_path / "run")

    def lost(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("src.runs.checkpoint.multihost_utils.process_allgather", lost)
    with pytest.raises(RuntimeError, match="closed by peer"):
        load(workdir)
    assert not (workdir / "damaged").exists()


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("config.json", "config.json is damaged"),
        ("preprocessing.npz", "preprocessing.npz is missing or damaged"),
    ],
)
def test_empty_file_of_the_run_is_named(
    file: str, complaint: str, tmp_path: Path, uninterrupted: Path
) -> None:
    workdir = copy_of(uninterrupted, tmp_path / "run")
    (workdir / file).write_bytes(b"")
    with pytest.raises(UserError, match=complaint):
        load(workdir)


def test_nothing_is_removed_if_all_checkpoints_are_damaged(
    tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    workdir = copy_of(uninterrupted, tmp_path / "run")
    for file in workdir.glob("checkpoints/*/params/d/*"):
        file.write_bytes(b"")
    before = sorted(workdir.rglob("*"))
    done = train(workdir, cache)
    assert done.returncode == 2
    assert "none of the checkpoints" in done.stderr
    assert sorted(workdir.rglob("*")) == before


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damaged_checkpoint_is_set_aside_and_the_previous_is_used(
    damage: str, tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    workdir = copy_of(uninterrupted, tmp_path / "run")
    files = (file for file in (workdir / f"checkpoints/{TOTAL}/params").rglob("d/*"))
    largest = max(files, key=lambda file: file.stat().st_size)
    match damage:
        case "truncated":
            largest.write_bytes(largest.read_bytes()[:100])
        case "flipped":
            flip_a_bit(largest)
        case "missing":
            largest.unlink()
    done = train(workdir, cache)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {TOTAL} is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert (workdir / f"damaged/{TOTAL}").is_dir()
    assert_same_run(workdir, uninterrupted)


def test_newest_and_best_checkpoints_are_kept(uninterrupted: Path) -> None:
    steps = {int(path.name) for path in (uninterrupted / "checkpoints").iterdir()}
    evaluations = [
        metrics
        for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()
        if (metrics := json.loads(line))["split"] == "test"
    ]
    best = min(evaluations, key=lambda metrics: metrics["top1_error"])
    assert {TOTAL, TOTAL - 4, best["step"]} == steps


def test_finished_run_trains_on_with_a_longer_duration(
    tmp_path: Path,
    train_here: Callable[..., int],
    digits_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workdir = shutil.copytree(digits_run, tmp_path / "run")
    assert train_here(workdir, "--config.duration=26 steps", "--config.schedule.factor=2") == 0
    changed = f"changed from step {TOTAL} on: duration, schedule.factor"
    assert changed in capsys.readouterr().err
    assert json.loads((workdir / "result.json").read_text())["step"] == 26


def test_other_settings_are_rejected_by_name(
    train_here: Callable[..., int], digits_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_here(digits_run, "--config.seed=7", "--config.optimizer.momentum=0.5") == 2
    error = capsys.readouterr().err
    assert "config.seed was 0 and is 7" in error
    assert "config.optimizer.momentum was 0.9 and is 0.5" in error
    assert tiny.get_config().batch_size == 32  # and nothing else differs
    assert error.count("config.") == 2


def test_diverging_run_keeps_its_last_good_checkpoint(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    rate, no_warmup = config.schedule.learning_rate, Fraction(1)
    exploding = Steps(rate, no_warmup, factor=1e-12, boundaries=[Fraction(10)])
    monkeypatch.setattr("src.training.loop.make_schedule", lambda *_: exploding)
    message = r"step 1[0-9]: the loss is (nan|inf|[0-9.e+]+), .* config\.init_checkpoint=best"
    with pytest.raises(DivergedError, match=message):
        trained(config, tmp_path)
    saved = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert max(saved) in (8, 12)
    for leaf in jax.tree.leaves(load(tmp_path).params):
        assert np.isfinite(leaf).all()


def test_divergence_at_the_last_step_is_reported(
    tmp_path: Path, train_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    too_high = ("--config.duration=1 step", "--config.schedule.learning_rate=1e30")
    assert train_here(tmp_path, *too_high) == 1
    error = capsys.readouterr().err
    assert re.search(r"error: step 1: the loss on test is (nan|inf)", error)
    assert "Traceback" not in error
    assert not (tmp_path / "result.json").exists()
    assert "test" not in (tmp_path / "metrics.jsonl").read_text()
