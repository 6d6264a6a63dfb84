"""The state of training: parameters, velocity, and what a resumed run must know."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from ..distributed.mesh import PARAMETERS
from ..models.factory import build_model
from .optimizer import momentum_sgd


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that the next step depends on besides the configuration and the learning rate."""

    step: jax.Array  # int32 (), steps done
    params: Any  # {layer: {"kernel": (towers, …), "bias": (towers, out)}}
    velocity: optax.OptState


def abstract_state(config: ConfigDict, num_classes: int, mesh: Mesh) -> TrainState:
    """The shapes, types and shardings of the state, with nothing computed."""

    def sharded(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = PARAMETERS if leaf.ndim else jax.P()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(sharded, jax.eval_shape(lambda: _initial_state(config, num_classes)))


def create_state(config: ConfigDict, num_classes: int, mesh: Mesh) -> TrainState:
    """The state before the first step: the same numbers on any mesh, each born where it is used."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, num_classes, mesh))
    return jax.jit(lambda: _initial_state(config, num_classes), out_shardings=shardings)()


def _initial_state(config: ConfigDict, num_classes: int) -> TrainState:
    params = nnx.to_pure_dict(nnx.split(build_model(config, num_classes))[1])
    velocity = momentum_sgd(0.0, **config.optimizer).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, velocity)


@dataclasses.dataclass
class Progress:
    """What a resumed run must know besides the state."""

    schedule: dict[str, Any]
    evaluated: int = 0  # the step of the last evaluation
    best_error: float = math.inf  # the lowest top-1 error that an evaluation found
    best_step: int = 0  # and where
    seconds: float = 0.0  # of training so far
    unlogged: list[dict[str, float]] = dataclasses.field(default_factory=list)  # steps' metrics
