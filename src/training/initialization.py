"""The state before the first step: drawn, or with the weights of another run."""

from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..errors import UserError
from ..models.architecture import layer_number
from ..runs.checkpoint import Checkpointer
from ..runs.config import differences, read_config
from ..runs.preprocessing import read_preprocessing
from .state import TrainState, abstract_state, create_state

# What may differ, since it tells how a network starts and is trained, not what it computes.
TRAINING_FIELDS = ("init", "dropout", "sigma", "bias")


def initial_state(config: ConfigDict, class_names: list[str], mesh: Mesh) -> TrainState:
    """The state on the mesh, its parameters those of the newest checkpoint in `config.init_from`.

    The last layer is drawn afresh where the classes are others; everything is, without `init_from`.

    Raises:
      UserError: there is no such run, or its network is another one.
    """
    state = create_state(config, len(class_names), mesh)
    if not config.init_from:
        return state
    workdir = Path(config.init_from)
    before, their_names = read_config(workdir), read_preprocessing(workdir)
    differing = [
        f"{name} is {theirs!r} there and {ours!r} here"
        for name, theirs, ours in differences(before.model, config.model)
        if name.rpartition(".")[-1] not in TRAINING_FIELDS
    ]
    if differing:
        raise UserError(
            f"config.init_from={config.init_from!r}: another network: {'; '.join(differing)}; give "
            "the recipe of that run's network"
        )
    like = abstract_state(before, len(their_names.class_names), mesh).params
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpoints:
        params, _ = checkpoints.restore_params(like, "newest")
    if their_names.class_names != class_names:
        last = max(config.model.dense, key=layer_number)
        params = {**params, last: state.params[last]}
    return TrainState(state.step, params, state.velocity)
