"""Checkpoints that are damaged, unreadable or deleted while they are read."""

import contextlib
import errno
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from src.errors import CommandError, UserError, describe_system_error
from src.inference.classifier import load
from src.runs.checkpoint import Checkpoint, Checkpointer, checksum
from src.runs.workdir import checkpoint_steps
from src.training.state import abstract_state
from tests.support import format1, miniature


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.runs.checkpoint.PAUSES", (0.0, 0.0))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A copy of a run with the checkpoints 4 and 8, of which 8 is the best."""
    return shutil.copytree(format1.WORKDIR, tmp_path / "run")


def on_read(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> None:
    """Calls `before` with the number of the attempt before each checkpoint is read."""
    reader, attempts = Checkpointer._read, iter(range(100))

    def read(self: Checkpointer, *args: Any) -> Any:
        before(next(attempts))
        return reader(self, *args)

    monkeypatch.setattr(Checkpointer, "_read", read)


def checkpoint_of(workdir: Path) -> Any:
    mesh = miniature.mesh(1, 1)
    like = abstract_state(format1.recipe(Path("prepared")), 10, mesh)
    with Checkpointer(workdir) as checkpointer:
        return checkpointer.restore({"params": like.params, "velocity": like.velocity})


def contents(workdir: Path) -> list[Path]:
    return sorted(path for path in workdir.rglob("*") if "lock" not in path.name)


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_best_checkpoint_that_is_damaged_or_missing_is_named(damage: str, workdir: Path) -> None:
    shutil.copytree(workdir / "checkpoints/8", workdir / "checkpoints/12")
    if damage == "missing":
        shutil.rmtree(workdir / "checkpoints/8")
    else:
        (workdir / "checkpoints/8/progress/metadata").write_bytes(b"")
    with pytest.raises(UserError, match=r"the best checkpoint, .*/8, is damaged or missing"):
        load(workdir, checkpoint="best", mesh=miniature.mesh(1, 1))
    assert load(workdir, mesh=miniature.mesh(1, 1)).step == 12


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ESHUTDOWN, errno.ECONNRESET, errno.EBUSY])
def test_system_error_is_retried(
    number: int, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(attempt: int) -> None:
        if attempt < 2:
            raise OSError(number, os.strerror(number), "/there/file")

    on_read(monkeypatch, fail)
    assert checkpoint_of(workdir).step == 8
    assert not (workdir / "damaged").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, os.strerror(errno.EIO), "/there/file"),
        ValueError('UNKNOWN: Error reading local file "/there/file": Stale file handle [spec=1]'),
        ValueError("UNKNOWN: Error reading \"/there/file\": ? [os_error_code='108']"),
        MemoryError(),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
    ],
)
def test_lasting_system_error_ends_reading_and_moves_nothing(
    error: Exception, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise error

    on_read(monkeypatch, fail)
    before = contents(workdir)
    with pytest.raises(
        CommandError, match=r"cannot read checkpoint 8: (/there/file|out of mem)"
    ) as e:
        checkpoint_of(workdir)
    assert e.value.exit_status == 1
    assert contents(workdir) == before


def test_checkpoints_that_cannot_be_listed_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").symlink_to("checkpoints")
    with pytest.raises(OSError, match="levels of symbolic links"):
        checkpoint_steps(tmp_path)


def test_newest_checkpoint_is_read_while_training_replaces_checkpoints(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = workdir / "checkpoints"

    def replace(attempt: int) -> None:
        if attempt == 0:
            shutil.copytree(checkpoints / "8", checkpoints / "12")
            shutil.rmtree(checkpoints / "8")

    on_read(monkeypatch, replace)
    assert load(workdir, mesh=miniature.mesh(1, 1)).step == 12


def test_checkpoints_that_keep_changing_end_reading_with_status_1(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = workdir / "checkpoints"

    def replace(attempt: int) -> None:
        newest = max(checkpoints.iterdir(), key=lambda path: int(path.name))
        newest.rename(checkpoints / str(100 + attempt))

    on_read(monkeypatch, replace)
    with pytest.raises(CommandError, match="changes while it is read; try again") as e:
        load(workdir, mesh=miniature.mesh(1, 1))
    assert e.value.exit_status == 1


@pytest.mark.parametrize("name", ["evaluated", "format", "checksums"])
def test_changed_progress_is_damage(name: str, tmp_path: Path) -> None:
    trees = {"params": {"kernel": np.zeros(3, np.float32)}}
    like = {"params": {"kernel": jax.ShapeDtypeStruct((3,), np.float32)}}
    with Checkpointer(tmp_path) as checkpointer:
        for step in (1, 2):
            checkpointer.save(Checkpoint(step, trees, {"evaluated": 12}))
    file = tmp_path / "checkpoints/2/progress/metadata"
    progress = json.loads(file.read_text())
    changed = {key if key != name else key.upper(): value for key, value in progress.items()}
    file.write_text(json.dumps(changed if name != "evaluated" else {**progress, name: 13}))
    with Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(like)
    assert restored is not None
    assert (restored.step, restored.progress["evaluated"]) == (1, 12)


def test_failed_save_in_the_background_is_noticed_by_the_next_check(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    trees = {"params": {"kernel": np.random.default_rng(0).random((64, 64), np.float32)}}
    with contextlib.suppress(OSError, ValueError), Checkpointer(tmp_path) as checkpointer:
        checkpointer.check_for_errors()
        checksum(trees["params"])  # compiles it, which may write to the cache
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as little as a full disk
        try:
            checkpointer.save(Checkpoint(1, trees, {}))
            with pytest.raises((OSError, ValueError), match="File too large") as e:
                check_until_raised(checkpointer)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    reason = describe_system_error(e.value)
    assert reason is not None
    assert reason.startswith(f"{tmp_path}/checkpoints/1")
    assert reason.endswith(": File too large; free some space")


def check_until_raised(checkpointer: Checkpointer) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        checkpointer.check_for_errors()
        time.sleep(0.01)
