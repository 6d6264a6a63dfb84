"""Checkpoints of a run: the newest two and the best, written while training continues."""

import contextlib
import json
import logging
import math
import re
import shutil
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, CustomSteps, LatestN

from ..errors import CommandError, UserError, describe_system_error
from .config import FORMAT, check_format

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Orbax warns that read_only=True changes its other options, which is what we ask for.
logging.getLogger("absl").addFilter(lambda record: not re.search("read.only", record.getMessage()))

KEPT_NEWEST = 2  # the second is the fallback if the newest is damaged
PAUSES = (0.2, 2.0)  # seconds between the attempts to read a checkpoint


class Checkpoint(NamedTuple):
    """What was saved at a step."""

    step: int
    trees: dict[str, Any]  # pytrees of arrays by name
    progress: dict[str, Any]  # JSON


class _DamagedError(Exception):
    """A process cannot read a checkpoint, or its arrays have other checksums than when saved."""


class _UnreadableError(CommandError):
    """The system fails to read a checkpoint, or the run trains on and has removed it."""


_FAILURES = (_DamagedError, _UnreadableError)  # the last of all processes' counts


class Checkpointer:
    """The checkpoints of a run; a context manager that waits for pending writes at its end."""

    def __init__(self, workdir: Path):
        self._directory = (workdir / "checkpoints").absolute()
        self._preserved = AnyPreservationPolicy([LatestN(KEPT_NEWEST)])
        self._writer: ocp.CheckpointManager | None = None  # from the first save on
        # Each process reads alone: else Orbax makes all wait for a process that found damage.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=None, active_processes={jax.process_index()}
        )
        options = ocp.CheckpointManagerOptions(read_only=True, multiprocessing_options=alone)
        self._reader = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._writer:
            self._writer.close()
        self._reader.close()

    def save(self, checkpoint: Checkpoint, best_step: int = 0) -> None:
        """Copies the arrays and writes them in the background, independently of their mesh.

        The step must be later than that of any other checkpoint. That of `best_step` is kept too.
        """
        self._preserved.policies = [LatestN(KEPT_NEWEST), CustomSteps([best_step])]
        items = {name: ocp.args.StandardSave(tree) for name, tree in checkpoint.trees.items()}
        checksums = {name: int(checksum(tree)) for name, tree in checkpoint.trees.items()}
        metadata = {**checkpoint.progress, "format": FORMAT}
        metadata["checksums"] = {**checksums, "progress": _json_checksum(metadata)}
        args = ocp.args.Composite(**items, progress=ocp.args.JsonSave(metadata))
        if self._writer is None:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._preserved, cleanup_tmp_directories=True
            )
            self._writer = ocp.CheckpointManager(self._directory, options=options)
        self._writer.save(checkpoint.step, args=args)

    def check_for_errors(self) -> None:
        """Raises the error of a save in the background that has failed, without waiting for one."""
        # Orbax's own check misses the errors that this thread of Orbax's has collected.
        is_saving = any(thread.name == "save_finalize" for thread in threading.enumerate())
        if self._writer and not is_saving:
            self._writer.wait_until_finished()

    def restore(self, like: Mapping[str, Any]) -> Checkpoint | None:
        """Restores the newest undamaged checkpoint; None if there is no checkpoint.

        Damaged newer checkpoints move to the directory `damaged` beside `checkpoints`. `like` has
        the pytrees by name, of `jax.ShapeDtypeStruct` with shardings.

        Raises:
          UserError: there are checkpoints, but all are damaged.
          CommandError: the system fails three times to read one; nothing has moved.
        """
        if self._newest_before(math.inf) < 0:
            return None
        checkpoint, damaged = self._retry(lambda: self._newest_undamaged(like))
        if jax.process_index() == 0:
            for step in damaged:
                aside = self._directory.parent / "damaged" / str(step)
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self._directory / str(step)).rename(aside)
        multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        return checkpoint

    def restore_params(self, like: Any, which: str = "newest") -> tuple[Any, int]:
        """The parameters of the "newest" undamaged checkpoint, or of the "best", and their step.

        Raises:
          UserError: there is no checkpoint, or all are damaged, or the best is.
          CommandError: the system fails three times to read one.
        """
        return self._retry(lambda: self._restore_params(like, which))

    def _restore_params(self, like: Any, which: str) -> tuple[Any, int]:
        if self._newest_before(math.inf) < 0:
            raise UserError(f"workdir: no checkpoint in {self._directory}; train first")
        trees = {"params": like}
        if which == "best" and (step := self._newest_undamaged({})[0].progress["best_step"]):
            try:
                if self._newest_before(step + 1) != step:
                    raise _DamagedError("no such directory")
                return self._restore(step, trees).trees["params"], step
            except _DamagedError as error:
                raise UserError(
                    f"workdir: the best checkpoint, {self._directory / str(step)}, is damaged or "
                    f"missing; choose the newest ({error})"
                ) from None
        checkpoint, _ = self._newest_undamaged(trees)
        return checkpoint.trees["params"], checkpoint.step

    def _newest_undamaged(self, like: Mapping[str, Any]) -> tuple[Checkpoint, list[int]]:
        """The newest undamaged checkpoint, and the steps of the damaged newer ones."""
        damaged: list[int] = []
        while (step := self._newest_before(min(damaged, default=math.inf))) >= 0:
            try:
                return self._restore(step, like), damaged
            except _DamagedError as error:
                logger.warning("checkpoint %d is damaged: %s", step, error)
                damaged.append(step)
        raise UserError(
            f"workdir: none of the checkpoints in {self._directory} can be restored; "
            "move the directory away to start again"
        )

    def _newest_before(self, limit: float) -> int:
        """The newest step before `limit` that process 0 lists; -1 if there is none.

        Others may list other steps while a run trains or on a slow file system. All must restore
        the same checkpoint.
        """
        step = max((step for step in self._reader.all_steps() if step < limit), default=-1)
        return int(multihost_utils.broadcast_one_to_all(np.array(step)))

    def _restore(self, step: int, like: Mapping[str, Any]) -> Checkpoint:
        """If one process cannot read the checkpoint, all raise, for all must continue alike."""
        failure, rank = None, -1
        try:
            restored = self._read(step, like)
        except Exception as error:  # a damaged file raises whatever its reader raises
            failure = self._classify(step, error)
            rank = _FAILURES.index(type(failure))
        highest = int(multihost_utils.process_allgather(np.array(rank)).max())
        if highest > rank:
            raise _FAILURES[highest](f"another process cannot read checkpoint {step}")
        if failure:
            raise failure
        progress = restored.progress
        expected = progress.pop("checksums", {})
        checksums = {name: int(checksum(restored[name])) for name in like}
        if "progress" in expected:  # not in older checkpoints
            checksums["progress"] = _json_checksum(progress)
        for name, value in checksums.items():
            if expected.get(name) != value:
                raise _DamagedError(f"{name}: another checksum than when saved")
        check_format(self._directory / str(step), progress.pop("format", None))
        return Checkpoint(step, {name: restored[name] for name in like}, progress)

    def _read(self, step: int, like: Mapping[str, Any]) -> Any:
        items = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        args = ocp.args.Composite(**items, progress=ocp.args.JsonRestore())
        return self._reader.restore(step, args=args)

    def _classify(self, step: int, error: Exception) -> Exception:
        """Why a checkpoint cannot be read; also lists the checkpoints anew."""
        before = self._reader.all_steps()
        self._reader.reload()
        after = self._reader.all_steps()
        if step not in (*before, *after):
            return _UnreadableError(
                f"workdir: {socket.gethostname()} does not see checkpoint {step} that process 0 "
                f"lists in {self._directory}; try again, with a shared file system"
            )
        if after != before:
            return _UnreadableError(
                f"workdir: {self._directory} changes while it is read; try again"
            )
        if reason := describe_system_error(error):
            return _UnreadableError(f"workdir: cannot read checkpoint {step}: {reason}")
        return _DamagedError((str(error).strip() or repr(error)).splitlines()[0])

    def _retry(self, attempt: Callable[[], T]) -> T:
        for pause in PAUSES:
            with contextlib.suppress(_UnreadableError):
                return attempt()
            time.sleep(pause)
            self._reader.reload()
        return attempt()


def _json_checksum(value: Any) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def checksum(tree: Any) -> jax.Array:
    """The sum of all leaves' 32-bit words modulo 2³², which is the same on any mesh."""
    return _sum_words(jax.tree.leaves(tree))


@jax.jit  # compiled once for parameters and velocities, whose leaves are alike
def _sum_words(leaves: list[jax.Array]) -> jax.Array:
    words = [lax.bitcast_convert_type(leaf, jnp.uint32) for leaf in leaves]
    return sum((leaf.sum(dtype=jnp.uint32) for leaf in words), jnp.uint32(0))
