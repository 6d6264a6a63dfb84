"""Checkpoints of a run: the newest two and the best, written while training goes on."""

import dataclasses
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax import lax
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from src.errors import UserError
from src.step import TrainState

KEPT_NEWEST = 2  # one to fall back on where the newest is damaged


@dataclasses.dataclass
class Progress:
    """What a resumed run must know besides the state."""

    schedule: dict[str, Any]
    evaluated: int = 0  # the step of the last evaluation
    error: float | None = None  # the top-1 error that it found
    seconds: float = 0.0  # of training so far


class Checkpoints:
    """The checkpoints of one run, in a folder; a context manager that waits for pending writes."""

    def __init__(self, directory: Path, read_only: bool = False):
        self.directory = directory
        policy = AnyPreservationPolicy(
            [
                LatestN(KEPT_NEWEST),
                BestN(
                    get_metric_fn=lambda metrics: metrics["error"],
                    reverse=True,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=lambda metrics: metrics["error"],
            best_mode="min",
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
        )
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.close()

    def save(self, state: TrainState, progress: Progress) -> None:
        """Copies the state and writes it in the background, independently of the mesh it is on."""
        step = int(state.step)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                velocity=ocp.args.StandardSave(state.velocity),
                progress=ocp.args.JsonSave(
                    {**dataclasses.asdict(progress), "fingerprints": _fingerprints(state)}
                ),
            ),
            metrics={"error": progress.error} if progress.evaluated == step else None,
        )

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest undamaged state, laid out like the abstract one, and its progress.

        Damaged checkpoints are named on stderr and set aside in the folder `damaged` beside the
        others. None if there is no checkpoint.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._restore(step, like)
            except Exception as error:  # damage shows as whatever the reader of a file raises
                reason = str(error).strip().splitlines()[0]
                print(f"checkpoint {step} is damaged and set aside: {reason}", file=sys.stderr)
                self._set_aside(step)
        return None

    def step_of(self, which: str) -> int:
        """The step of the "newest" or of the "best" checkpoint.

        Raises:
          UserError: there is none.
        """
        step = self._manager.best_step() if which == "best" else self._manager.latest_step()
        if step is None:
            raise UserError(f"workdir: no {which} checkpoint in {self.directory}; train first")
        return step

    def restore_params(self, like: Any, which: str) -> Any:
        """The parameters alone of the "newest" or of the "best" checkpoint."""
        args = ocp.args.Composite(
            params=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(self.step_of(which), args=args)
        _check("params", restored.params, restored.progress["fingerprints"])
        return restored.params

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(like.params),
                velocity=ocp.args.StandardRestore(like.velocity),
                progress=ocp.args.JsonRestore(),
            ),
        )
        fingerprints = restored.progress.pop("fingerprints")
        _check("params", restored.params, fingerprints)
        _check("velocity", restored.velocity, fingerprints)
        count = jax.device_put(jnp.int32(step), like.step.sharding)
        state = TrainState(count, restored.params, restored.velocity)
        return state, Progress(**restored.progress)

    def _set_aside(self, step: int) -> None:
        damaged = self.directory.parent / "damaged" / str(step)
        shutil.rmtree(damaged, ignore_errors=True)
        damaged.parent.mkdir(exist_ok=True)
        (self.directory / str(step)).rename(damaged)
        self._manager.reload()


@jax.jit
def _fingerprint(tree: Any) -> jax.Array:
    """Sums all bits, as numbers modulo 2³²: the same in any order, so on any mesh."""
    leaves = [lax.bitcast_convert_type(leaf, jnp.uint32) for leaf in jax.tree.leaves(tree)]
    return sum((leaf.sum(dtype=jnp.uint32) for leaf in leaves), jnp.uint32(0))


def _fingerprints(state: TrainState) -> dict[str, int]:
    return {name: int(_fingerprint(getattr(state, name))) for name in ("params", "velocity")}


def _check(name: str, tree: Any, fingerprints: dict[str, int]) -> None:
    if int(_fingerprint(tree)) != fingerprints[name]:
        raise ValueError(f"its {name} are not the numbers that were saved")
