"""The state before the first step: random, or with the weights of another run."""

from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..errors import UserError
from ..inference.classifier import load
from ..models.architecture import Architecture
from ..models.factory import rescale
from ..runs.config import describe_differences, network_differences, read_config
from .state import TrainState, create_state


def initial_state(config: ConfigDict, class_names: list[str], mesh: Mesh) -> TrainState:
    """The state on the mesh, with the parameters of `config.init_from` if that is set.

    The last layer is random where the classes differ.

    Raises:
      UserError: there is no such run, or it has another network.
    """
    state = create_state(config, len(class_names), mesh)
    if not config.init_from:
        return state
    workdir = Path(config.init_from).expanduser()
    if changes := network_differences(read_config(workdir).model, config.model):
        fields = describe_differences(changes, "config.model")
        raise UserError(
            f"config.init_from={config.init_from!r}: another network: {fields}; give the recipe of "
            "that run's network"
        )
    first = load(workdir, checkpoint=config.init_checkpoint, mesh=mesh)
    params = rescale(first.params, first.architecture, Architecture.from_config(config.model))
    if first.class_names != class_names:
        params = {**params, first.architecture.head: state.params[first.architecture.head]}
    return TrainState(state.step, params, state.velocity)
