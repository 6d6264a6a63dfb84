"""The state before the first step: random, or with the weights of another run."""

from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..distributed.mesh import shard_abstract
from ..errors import UserError
from ..models.architecture import Architecture
from ..models.factory import abstract_params, rescale
from ..runs.checkpoint import Checkpointer
from ..runs.config import describe_differences, network_differences, read_config
from ..runs.preprocessing import read_preprocessing
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
    first, preprocessing = read_config(workdir), read_preprocessing(workdir)
    if changes := network_differences(first.model, config.model):
        fields = describe_differences(changes, "config.model")
        raise UserError(
            f"config.init_from={config.init_from!r}: another network: {fields}; give the recipe of "
            "that run's network"
        )
    architecture = Architecture.from_config(first.model)
    like = shard_abstract(mesh, abstract_params(architecture, len(preprocessing.class_names)))
    with Checkpointer(workdir, read_only=True) as checkpoints:
        params, _ = checkpoints.restore_params(like, config.init_checkpoint)
    params = rescale(params, architecture, Architecture.from_config(config.model))
    if preprocessing.class_names != class_names:
        params = {**params, architecture.head: state.params[architecture.head]}
    return TrainState(state.step, params, state.velocity)
