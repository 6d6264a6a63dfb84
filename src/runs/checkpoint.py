"""Checkpoints of a run: the newest two and the best, written while training goes on."""

import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN

from ..errors import UserError
from .config import FORMAT, check_format

logger = logging.getLogger(__name__)
# Orbax warns of the very thing that is asked of it.
logging.getLogger("absl").addFilter(lambda it: not re.search("read.only", it.getMessage()))

KEPT_NEWEST = 2  # one to fall back on where the newest is damaged

Restored = TypeVar("Restored")


class Checkpoint(NamedTuple):
    """What was saved at a step."""

    step: int
    trees: dict[str, Any]  # pytrees of arrays by name
    progress: dict[str, Any]  # JSON


class _DamagedError(Exception):
    """A checkpoint cannot be read, in some process, or is not what was saved."""


class _KeepStep:
    """Preserves the checkpoint of one step, the best."""

    def __init__(self) -> None:
        self.step = 0

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:  # noqa: ARG002
        return [checkpoint.step == self.step for checkpoint in checkpoints]


class Checkpointer:
    """The checkpoints of a run; a context manager that waits for pending writes at its end.

    Args:
      workdir: the run directory.
      read_only: whether nothing is to be created, saved or removed.
    """

    def __init__(self, workdir: Path, read_only: bool = False):
        self._directory = (workdir / "checkpoints").absolute()
        self._best = _KeepStep()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(KEPT_NEWEST), self._best]),
            read_only=read_only,
            create=not read_only,
            save_interval_steps=0 if read_only else 1,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)
        # Each process reads alone: Orbax would have all wait for one that found damage.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=None, active_processes={jax.process_index()}
        )
        self._reader = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(read_only=True, multiprocessing_options=alone),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._manager.close()
        self._reader.close()

    def save(self, checkpoint: Checkpoint, best_step: int = 0) -> None:
        """Copies the arrays and writes them in the background, independently of their mesh.

        Args:
          checkpoint: its step must be later than that of any other.
          best_step: the step whose checkpoint is kept besides the newest.
        """
        self._best.step = best_step
        step, trees, progress = checkpoint
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        checksums = {name: int(checksum(tree)) for name, tree in trees.items()}
        metadata = {**progress, "checksums": checksums, "format": FORMAT}
        self._manager.save(
            step, args=ocp.args.Composite(**items, progress=ocp.args.JsonSave(metadata))
        )

    def restore(self, like: Mapping[str, Any]) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None if there is no checkpoint.

        Newer ones, which are damaged, move to the directory `damaged` beside `checkpoints`.

        Args:
          like: the pytrees by name, of `jax.ShapeDtypeStruct` with shardings.

        Raises:
          UserError: there are checkpoints, but none can be restored.
        """
        if not self._manager.all_steps():
            return None
        checkpoint, damaged = self._first_undamaged(lambda step: self._restore(step, like))
        if jax.process_index() == 0:
            for step in damaged:
                aside = self._directory.parent / "damaged" / str(step)
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self._directory / str(step)).rename(aside)
        multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        self._manager.reload()
        return checkpoint

    def restore_params(self, like: Any, which: str = "newest") -> tuple[Any, int]:
        """The parameters alone of the "newest" undamaged checkpoint, or of the "best"; its step.

        Raises:
          UserError: there is none.
        """
        if not self._manager.all_steps():
            raise UserError(f"workdir: no checkpoint in {self._directory}; train first")
        trees = {"params": like}
        if which == "best":
            newest, _ = self._first_undamaged(lambda step: self._restore(step, {}))
            if step := newest.progress["best_step"]:
                return self._restore(step, trees).trees["params"], step
        checkpoint, _ = self._first_undamaged(lambda step: self._restore(step, trees))
        return checkpoint.trees["params"], checkpoint.step

    def _first_undamaged(self, restore: Callable[[int], Restored]) -> tuple[Restored, list[int]]:
        """What is restored of the newest checkpoint that can be, and the steps of newer ones."""
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return restore(step), damaged
            except _DamagedError as error:
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                logger.warning("checkpoint %d is damaged: %s", step, reason)
                damaged.append(step)
        raise UserError(
            f"workdir: none of the checkpoints in {self._directory} can be restored; "
            "move the directory away to start anew"
        )

    def _restore(self, step: int, like: Mapping[str, Any]) -> Checkpoint:
        items = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        restored = self._read(step, **items, progress=ocp.args.JsonRestore())
        progress = restored.progress
        check_format(self._directory / str(step), progress.pop("format", None))
        checksums = progress.pop("checksums")
        for name in like:
            if int(checksum(restored[name])) != checksums[name]:
                raise _DamagedError(f"its {name} are not the numbers that were saved")
        return Checkpoint(step, {name: restored[name] for name in like}, progress)

    def _read(self, step: int, **items: ocp.args.CheckpointArgs) -> Any:
        """Raises in all processes what is raised in any, for they must go on alike."""
        failure = None
        try:
            restored = self._reader.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # a damaged file raises whatever its reader raises
            failure = error
        if multihost_utils.process_allgather(np.array(failure is not None)).any():
            raise _DamagedError(failure or "another process cannot read it") from failure
        return restored


@jax.jit
def checksum(tree: Any) -> jax.Array:
    """The sum of all bits as numbers modulo 2³²: the same in any order, so on any mesh."""
    leaves = [lax.bitcast_convert_type(leaf, jnp.uint32) for leaf in jax.tree.leaves(tree)]
    return sum((leaf.sum(dtype=jnp.uint32) for leaf in leaves), jnp.uint32(0))
