"""Checkpoints of a run: the newest two and the best, written while training goes on."""

import dataclasses
import logging
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import lax
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN
from tqdm import tqdm

from ..errors import UserError
from ..training.state import Progress, TrainState

Restored = TypeVar("Restored")

# Orbax warns of the very thing that is asked of it.
logging.getLogger("absl").addFilter(lambda it: not re.search("read.only", it.getMessage()))

KEPT_NEWEST = 2  # one to fall back on where the newest is damaged


class _DamagedError(Exception):
    """A checkpoint can't be read, in some process, or is not what was saved."""


class _KeepStep:
    """Keeps the checkpoint of one step, the best, from being deleted."""

    def __init__(self) -> None:
        self.step = 0

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:  # noqa: ARG002
        return [checkpoint.step == self.step for checkpoint in checkpoints]


class Checkpointer:
    """The checkpoints of one run, in a folder; a context manager that waits for pending writes."""

    def __init__(self, directory: Path, read_only: bool = False):
        self.directory = directory
        self._best = _KeepStep()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(KEPT_NEWEST), self._best]),
            read_only=read_only,
            create=not read_only,
            save_interval_steps=0 if read_only else 1,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)
        # Each process reads by itself: Orbax would have them wait for one that found damage.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=None, active_processes={jax.process_index()}
        )
        self._reader = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(read_only=True, multiprocessing_options=alone),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.close()
        self._reader.close()

    def save(self, state: TrainState, progress: Progress) -> None:
        """Copies the state and writes it in the background, independently of the mesh it is on."""
        self._best.step = progress.best_step
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                velocity=ocp.args.StandardSave(state.velocity),
                progress=ocp.args.JsonSave(
                    {**dataclasses.asdict(progress), "fingerprints": _fingerprints(state)}
                ),
            ),
        )

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest undamaged state, laid out like the abstract one, and its progress.

        Newer ones, which are damaged, are named on stderr and set aside in the folder `damaged`
        beside the others. None if there is no checkpoint.

        Raises:
          UserError: there are checkpoints, but none can be restored.
        """
        if not self._manager.all_steps():
            return None
        (state, progress), damaged = self._first_undamaged(lambda step: self._restore(step, like))
        if jax.process_index() == 0:
            for step in damaged:
                aside = self.directory.parent / "damaged" / str(step)
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self.directory / str(step)).rename(aside)
        multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        self._manager.reload()
        return state, progress

    def restore_params(self, like: Any, which: str) -> tuple[Any, int]:
        """The parameters alone of the "newest" undamaged checkpoint, or of the "best"; its step.

        Raises:
          UserError: there is none.
        """
        if not self._manager.all_steps():
            raise UserError(f"workdir: no checkpoint in {self.directory}; train first")
        if which == "best":
            progress, _ = self._first_undamaged(self._progress)
            if step := progress["best_step"]:
                return self._restore_params(step, like), step
        found, _ = self._first_undamaged(lambda step: (self._restore_params(step, like), step))
        return found

    def _first_undamaged(self, restore: Callable[[int], Restored]) -> tuple[Restored, list[int]]:
        """What is restored of the newest checkpoint that can be, and the steps of newer ones."""
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return restore(step), damaged
            except _DamagedError as error:
                if jax.process_index() == 0:
                    told = f"checkpoint {step} is damaged: {_first_line(error)}"
                    tqdm.write(told, file=sys.stderr)  # an experiment's bar may be shown
                damaged.append(step)
        raise UserError(
            f"workdir: none of the checkpoints in {self.directory} can be restored; "
            "move the folder away to start anew"
        )

    def _progress(self, step: int) -> dict[str, Any]:
        return self._read(step, progress=ocp.args.JsonRestore()).progress

    def _restore_params(self, step: int, like: Any) -> Any:
        restored = self._read(
            step, params=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()
        )
        _check("params", restored.params, restored.progress["fingerprints"])
        return restored.params

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        restored = self._read(
            step,
            params=ocp.args.StandardRestore(like.params),
            velocity=ocp.args.StandardRestore(like.velocity),
            progress=ocp.args.JsonRestore(),
        )
        fingerprints = restored.progress.pop("fingerprints")
        _check("params", restored.params, fingerprints)
        _check("velocity", restored.velocity, fingerprints)
        count = jax.device_put(jnp.int32(step), like.step.sharding)
        state = TrainState(count, restored.params, restored.velocity)
        return state, Progress(**restored.progress)

    def _read(self, step: int, **items: ocp.args.CheckpointArgs) -> Any:
        """Raises in all processes what is raised in any, for they must go on alike."""
        failure = None
        try:
            restored = self._reader.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # damage shows as whatever the reader of a file raises
            failure = error
        if multihost_utils.process_allgather(np.array(failure is not None)).any():
            raise _DamagedError(failure or "another process can't read it") from failure
        return restored


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


@jax.jit
def checksum(tree: Any) -> jax.Array:
    """The sum of all bits as numbers modulo 2³²: the same in any order, so on any mesh."""
    leaves = [lax.bitcast_convert_type(leaf, jnp.uint32) for leaf in jax.tree.leaves(tree)]
    return sum((leaf.sum(dtype=jnp.uint32) for leaf in leaves), jnp.uint32(0))


def _fingerprints(state: TrainState) -> dict[str, int]:
    return {name: int(checksum(getattr(state, name))) for name in ("params", "velocity")}


def _check(name: str, tree: Any, fingerprints: dict[str, int]) -> None:
    if int(checksum(tree)) != fingerprints[name]:
        raise _DamagedError(f"its {name} are not the numbers that were saved")
