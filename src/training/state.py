"""The state of training: arrays on the devices, and what else a resumed run must know."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..distributed.mesh import shard_abstract
from ..models.architecture import Architecture
from ..models.factory import Params, init_params
from ..runs.checkpoint import Checkpoint
from .optimizer import momentum_sgd
from .schedule import Schedule


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All arrays that the next step depends on."""

    step: jax.Array  # int32 (), steps done
    params: Params
    velocity: optax.OptState


@dataclasses.dataclass
class Progress:
    """What a resumed run must know besides the arrays."""

    schedule: dict[str, Any]  # the state of the learning-rate schedule
    evaluated: int = 0  # the step of the last evaluation
    best_error: float = math.inf  # the lowest top-1 error of an evaluation
    best_step: int = 0  # and its step
    since_best: int = 0  # evaluations since then
    seconds: float = 0.0  # of training so far
    pending_metrics: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """The metrics of the last steps, for the next train line."""
    metrics_checksum: int | None = None  # of metrics.jsonl; None in older checkpoints

    def record(self, step: int, error: float, schedule: Schedule) -> None:
        """Takes an evaluation into account, also in the schedule."""
        schedule.observe(error)
        self.evaluated, self.schedule = step, schedule.state()
        self.since_best += 1
        if error < self.best_error:
            self.best_error, self.best_step, self.since_best = error, step, 0


def random_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial weights, and that of everything random in training."""
    initial, training = jax.random.split(jax.random.key(seed))
    return initial, training


def abstract_state(config: ConfigDict, num_classes: int, mesh: Mesh) -> TrainState:
    """The shapes, types and shardings of the state; nothing is computed."""
    return shard_abstract(mesh, jax.eval_shape(lambda: _initial_state(config, num_classes)))


def create_state(config: ConfigDict, num_classes: int, mesh: Mesh) -> TrainState:
    """The state before the first step: the same numbers on any mesh, each made where it is used."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, num_classes, mesh))
    return jax.jit(lambda: _initial_state(config, num_classes), out_shardings=shardings)()


def to_checkpoint(state: TrainState, progress: Progress) -> Checkpoint:
    """What is saved of a state."""
    trees = {"params": state.params, "velocity": state.velocity}
    return Checkpoint(int(state.step), trees, dataclasses.asdict(progress))


def from_checkpoint(checkpoint: Checkpoint, like: TrainState) -> TrainState:
    """The state that was saved, laid out like `like`."""
    step = jax.device_put(jnp.int32(checkpoint.step), like.step.sharding)
    return TrainState(step, **checkpoint.trees)


def _initial_state(config: ConfigDict, num_classes: int) -> TrainState:
    initial_key, _ = random_keys(config.seed)
    params = init_params(Architecture.from_config(config.model), num_classes, initial_key)
    velocity = momentum_sgd(0.0, config.optimizer).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, velocity)
