"""The compiled part of training: loss, gradient, update."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from ..data.augment import color_noise, subtract_mean
from ..data.statistics import Statistics
from ..distributed.devices import compiler_options, platform
from ..distributed.mesh import BATCH, DATA_AXIS, PARAMETERS
from ..errors import UserError
from ..models.architecture import Architecture
from ..models.classification import example_metrics, log_softmax
from ..models.factory import Params, graphdef
from ..models.kernels import Kernels, choose_kernels
from ..models.layers import TOWER_AXIS
from .loss import Loss, plain
from .optimizer import is_frozen, momentum_sgd
from .state import TrainState, abstract_state, random_keys

Batch = dict[str, jax.Array]  # image, label, offset, flip: what data.loader yields
Metrics = dict[str, jax.Array]


class TrainStep(Protocol):
    """A step of training, compiled at the first call or by `lower(…).compile()`."""

    def __call__(
        self,
        state: TrainState,
        batch: Batch,
        statistics: Statistics,
        learning_rate: jax.typing.ArrayLike,
    ) -> tuple[TrainState, Metrics]: ...

    def lower(self, *abstract: Any) -> Any: ...


def make_train_step(
    config: ConfigDict, num_classes: int, mesh: Mesh, loss: Loss = plain
) -> TrainStep:
    """Compiles one step of training on the mesh, which minimizes the mean of `loss`.

    Raises:
      UserError: `config.accumulate` does not divide the images of each data shard.

    Returns:
      A function (state, batch, statistics, learning rate) → (next state, metrics). It reuses the
      memory of the given state. The metrics are scalars over the global batch: `loss`, the mean
      cross-entropy in nats; `top1_error` and `top5_error`, fractions; `grad_norm`, of the loss
      without weight decay.
    """
    if (rows := config.batch_size // mesh.shape[DATA_AXIS]) % config.accumulate:
        raise UserError(
            f"config.accumulate: {config.accumulate} parts do not divide {rows} images, which each "
            f"of {mesh.shape[DATA_AXIS]} data shards has of a batch; choose a divisor"
        )
    kernels = choose_kernels(platform(mesh), config.cpu_kernels)
    forward = jax.shard_map(
        _make_forward(config, num_classes, kernels, loss),
        mesh=mesh,
        in_specs=(PARAMETERS, BATCH, jax.P(), jax.P(), jax.P()),
        out_specs=jax.P(),
        check_vma=True,
    )

    def step(
        state: TrainState,
        batch: Batch,
        statistics: Statistics,
        learning_rate: jax.typing.ArrayLike,
    ) -> tuple[TrainState, Metrics]:
        _, training_key = random_keys(config.seed)
        step_key = jax.random.fold_in(training_key, state.step)

        def mean_loss(params: Params, part: jax.typing.ArrayLike) -> tuple[jax.Array, Metrics]:
            params = _freeze(params, config.optimizer.frozen_layers)
            return forward(params, batch, statistics, step_key, part)

        gradient = functools.partial(jax.grad(mean_loss, has_aux=True), state.params)
        grads, metrics = _sum_over_parts(gradient, config.accumulate)
        optimizer = momentum_sgd(learning_rate, config.optimizer)
        updates, velocity = optimizer.update(grads, state.velocity, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, velocity), metrics

    return jax.jit(step, donate_argnums=0, compiler_options=compiler_options(mesh))


def abstract_inputs(config: ConfigDict, mesh: Mesh) -> tuple[Batch, Statistics, Any]:
    """Shapes, types and shardings of a step's inputs besides the state."""

    def array(shape: tuple[int, ...], dtype: str, spec: jax.P = BATCH) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=NamedSharding(mesh, spec))

    images, crop, size = config.batch_size, config.model.image_size, config.data.size
    batch = {
        "image": array((images, crop, crop, 3), "uint8"),
        "label": array((images,), "int32"),
        "offset": array((images, 2), "int32"),
        "flip": array((images,), "bool"),
    }
    statistics = [array(shape, "float32", jax.P()) for shape in [(size, size, 3), (3,), (3, 3)]]
    return batch, Statistics(*statistics), jax.ShapeDtypeStruct((), jnp.float32)


def lower_step(config: ConfigDict, num_classes: int, mesh: Mesh, loss: Loss = plain) -> Any:
    """The step of `make_train_step`, which `.compile()` compiles before there are any arrays."""
    state = abstract_state(config, num_classes, mesh)
    step = make_train_step(config, num_classes, mesh, loss)
    return step.lower(state, *abstract_inputs(config, mesh))


def _sum_over_parts(compute: Callable[[jax.typing.ArrayLike], Any], parts: int) -> Any:
    """Adds up the arrays that `compute` returns for each part of a batch, one after the other."""
    if parts == 1:
        return compute(0)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(compute, 0))
    return lax.fori_loop(0, parts, lambda i, sums: jax.tree.map(jnp.add, sums, compute(i)), zeros)


def _make_forward(
    config: ConfigDict, num_classes: int, kernels: Kernels, loss: Loss
) -> Callable[..., tuple[jax.Array, Metrics]]:
    """Makes the function of one device: from its examples and towers to the batch's metrics.

    It takes one of `config.accumulate` parts of the batch; all parts' results add up.
    """
    architecture = Architecture.from_config(config.model)
    graph = graphdef(architecture, num_classes, config.dtype, kernels)

    def forward(
        params: Params,
        batch: Batch,
        statistics: Statistics,
        step_key: jax.Array,
        part: jax.typing.ArrayLike,
    ) -> tuple[jax.Array, Metrics]:
        # Keyed by the example's place in the global batch, never by the device.
        rows = lax.axis_index(DATA_AXIS) * len(batch["label"]) + jnp.arange(len(batch["label"]))
        rows, batch = jax.tree.map(
            lambda x: x.reshape(config.accumulate, -1, *x.shape[1:])[part], (rows, batch)
        )
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, rows)
        color_keys, dropout_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        images = subtract_mean(
            batch["image"], statistics.mean, batch["offset"], batch["flip"], config.augment.mean
        )
        images = color_noise(
            images, color_keys, statistics.deviations, statistics.directions, config.augment.color
        )
        if "float32" in (config.dtype, config.reduce_dtype):
            # JAX adds up gradients where parameters become varying: here in float32. Left to
            # itself, it would do so after the cast to the type of the activations.
            params = lax.pcast(params, DATA_AXIS, to="varying")
        model = nnx.merge(graph, params)
        log_p = log_softmax(model.logits(images, dropout_keys))
        scored = log_p, model.local_classes(), batch["label"], lambda x: lax.psum(x, TOWER_AXIS)
        metrics = example_metrics(*scored)
        return jax.tree.map(
            lambda x: lax.psum(x.sum(), DATA_AXIS) / config.batch_size,
            (loss(metrics["loss"], *scored), metrics),
        )

    return forward


def _freeze(params: Params, patterns: str) -> dict[str, Any]:
    """Stops the gradients of layers that match, which are then not computed.

    The optimizer checks the patterns too, because weight decay needs no gradient.
    """
    return {
        layer: lax.stop_gradient(leaves) if is_frozen(layer, patterns) else leaves
        for layer, leaves in params.items()
    }
