"""Checkpoints of a run: the newest two and the best, written while training continues."""

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, CustomSteps, LatestN

from ..errors import UserError
from .config import FORMAT, check_format

logger = logging.getLogger(__name__)
# Orbax warns that read_only=True changes its other options, which is what we ask for.
logging.getLogger("absl").addFilter(lambda record: not re.search("read.only", record.getMessage()))

KEPT_NEWEST = 2  # the second is the fallback if the newest is damaged


class Checkpoint(NamedTuple):
    """What was saved at a step."""

    step: int
    trees: dict[str, Any]  # pytrees of arrays by name
    progress: dict[str, Any]  # JSON


class _DamagedError(Exception):
    """A process cannot read a checkpoint, or its arrays have other checksums than when saved."""


class Checkpointer:
    """The checkpoints of a run; a context manager that waits for pending writes at its end.

    Args:
      workdir: the run directory.
      read_only: whether to create, save and remove nothing.
    """

    def __init__(self, workdir: Path, read_only: bool = False):
        self._directory = (workdir / "checkpoints").absolute()
        self._preserved = AnyPreservationPolicy([LatestN(KEPT_NEWEST)])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._preserved, read_only=read_only, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)
        # Each process reads alone: else Orbax makes all wait for a process that found damage.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=None, active_processes={jax.process_index()}
        )
        options = ocp.CheckpointManagerOptions(read_only=True, multiprocessing_options=alone)
        self._reader = ocp.CheckpointManager(self._directory, options=options)

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
        self._preserved.policies = [LatestN(KEPT_NEWEST), CustomSteps([best_step])]
        items = {name: ocp.args.StandardSave(tree) for name, tree in checkpoint.trees.items()}
        checksums = {name: int(checksum(tree)) for name, tree in checkpoint.trees.items()}
        metadata = {**checkpoint.progress, "checksums": checksums, "format": FORMAT}
        args = ocp.args.Composite(**items, progress=ocp.args.JsonSave(metadata))
        self._manager.save(checkpoint.step, args=args)

    def restore(self, like: Mapping[str, Any]) -> Checkpoint | None:
        """Restores the newest undamaged checkpoint; None if there is no checkpoint.

        Damaged newer checkpoints move to the directory `damaged` beside `checkpoints`.

        Args:
          like: the pytrees by name, of `jax.ShapeDtypeStruct` with shardings.

        Raises:
          UserError: there are checkpoints, but all are damaged.
        """
        if not self._manager.all_steps():
            return None
        checkpoint, damaged = self._newest_undamaged(like)
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
        """Restores the parameters of the "newest" undamaged checkpoint, or of the "best".

        Returns:
          The parameters, and their step.

        Raises:
          UserError: there is no checkpoint, or all are damaged.
        """
        if not self._manager.all_steps():
            raise UserError(f"workdir: no checkpoint in {self._directory}; train first")
        trees = {"params": like}
        if which == "best":
            newest, _ = self._newest_undamaged({})
            if step := newest.progress["best_step"]:
                return self._restore(step, trees).trees["params"], step
        checkpoint, _ = self._newest_undamaged(trees)
        return checkpoint.trees["params"], checkpoint.step

    def _newest_undamaged(self, like: Mapping[str, Any]) -> tuple[Checkpoint, list[int]]:
        """The newest undamaged checkpoint, and the steps of the damaged newer ones."""
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._restore(step, like), damaged
            except _DamagedError as error:
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                logger.warning("checkpoint %d is damaged: %s", step, reason)
                damaged.append(step)
        raise UserError(
            f"workdir: none of the checkpoints in {self._directory} can be restored; "
            "move the directory away to start again"
        )

    def _restore(self, step: int, like: Mapping[str, Any]) -> Checkpoint:
        """If one process cannot read the checkpoint, all raise, for all must continue alike."""
        items = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        args = ocp.args.Composite(**items, progress=ocp.args.JsonRestore())
        failure = None
        try:
            restored = self._reader.restore(step, args=args)
        except Exception as error:  # a damaged file raises whatever its reader raises
            failure = error
        if multihost_utils.process_allgather(np.array(failure is not None)).any():
            raise _DamagedError(failure or "another process cannot read it") from failure
        progress = restored.progress
        check_format(self._directory / str(step), progress.pop("format", None))
        checksums = progress.pop("checksums")
        for name in like:
            if int(checksum(restored[name])) != checksums[name]:
                raise _DamagedError(f"its {name} have another checksum than when saved")
        return Checkpoint(step, {name: restored[name] for name in like}, progress)


@jax.jit
def checksum(tree: Any) -> jax.Array:
    """The sum of all leaves' 32-bit words modulo 2³², which is the same on any mesh."""
    leaves = [lax.bitcast_convert_type(leaf, jnp.uint32) for leaf in jax.tree.leaves(tree)]
    return sum((leaf.sum(dtype=jnp.uint32) for leaf in leaves), jnp.uint32(0))
