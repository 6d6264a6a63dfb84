"""One compiled step of training, on 1×1, 1×2, 2×1, 2×2 and 4×2 devices (data × model)."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from src.distributed.mesh import replicate, to_devices
from src.models.alexnet import AlexNet
from src.models.architecture import Architecture
from src.training.state import TrainState, abstract_state, create_state
from src.training.step import abstract_inputs, make_train_step
from tests.support import miniature
from tests.support.miniature import NUM_CLASSES

ONE_DEVICE = (1, 1)
OTHERS = [(1, 2), (2, 1), (2, 2), (4, 2)]
RATE = 0.002
WEIGHT_DECAY = 0.05  # without randomness; so much that a norm of it and the gradient would show
STEPS = 10


class Run(NamedTuple):
    """What a run of some steps came to, as NumPy arrays: the states after each and the metrics."""

    states: list[TrainState]
    metrics: list[dict[str, np.ndarray]]


@functools.cache
def recipe(variant: str = "random") -> ConfigDict:
    """With all that is random switched on, with another seed, with noise alone, or without."""
    if variant in ("random", "reseeded"):
        fields = miniature.config()
        fields.seed = int(variant == "reseeded")
        return fields
    fields = miniature.config(dropout=0.0)
    fields.augment.color = "deviations" if variant == "noise" else "none"
    fields.augment.mean = "center" if variant == "center" else "aligned"
    fields.optimizer.weight_decay = WEIGHT_DECAY
    return fields


@functools.cache
def compiled(variant: str, shape: tuple[int, int]):
    return make_train_step(recipe(variant), NUM_CLASSES, miniature.mesh(*shape))


@functools.cache
def initial() -> TrainState:
    return jax.device_get(create_state(recipe(), NUM_CLASSES, miniature.mesh(1, 1)))


def placed(state: TrainState, shape: tuple[int, int]) -> TrainState:
    like = abstract_state(recipe(), NUM_CLASSES, miniature.mesh(*shape))
    return jax.tree.map(lambda leaf, to: jax.device_put(leaf, to.sharding), state, like)


def train(
    shape: tuple[int, int],
    variant: str = "random",
    *,
    start: TrainState | None = None,
    stop: int = 1,
    rate: float = RATE,
    **replaced: np.ndarray,
) -> Run:
    """Trains from `start` (by default the initial state) to the step `stop`.

    Args:
      **replaced: what every batch has instead of its own images, labels, offsets, flips.
    """
    fields, mesh = recipe(variant), miniature.mesh(*shape)
    state = placed(start or initial(), shape)
    statistics = replicate(mesh, miniature.statistics())
    run = Run([], [])
    for number in range(int(state.step), stop):
        batch = miniature.batch(fields, number) | replaced
        on_devices = to_devices(mesh, batch, fields.batch_size)
        state, metrics = compiled(variant, shape)(state, on_devices, statistics, rate)
        run.states.append(jax.device_get(state))
        run.metrics.append(jax.device_get(metrics))
    return run


@functools.cache
def ten_steps(shape: tuple[int, int]) -> Run:
    return train(shape, stop=STEPS)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Each leaf is as expected within a tolerance relative to the leaf's largest number."""

    def check(path, a, b):
        limit = tolerance * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=limit, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(check, actual, expected)


def assert_identical(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("shape", [(1, 2), (4, 2)])
def test_the_initial_state_is_the_same_on_any_mesh(shape):
    mesh = miniature.mesh(*shape)
    state = create_state(recipe(), NUM_CLASSES, mesh)
    assert_identical(jax.device_get(state), initial())
    kernel = state.params["conv1"]["kernel"]
    held = {shard.data.shape[0] for shard in kernel.addressable_shards}
    assert held == {2 // shape[1]}
    assert kernel.sharding.device_set == set(mesh.devices.flat)


@pytest.mark.parametrize("shape", OTHERS)
def test_one_step_is_the_same_on_any_mesh(shape):
    one, other = (ten_steps(s) for s in (ONE_DEVICE, shape))
    assert one.metrics[0].keys() == {"loss", "top1_error", "top5_error", "grad_norm"}
    assert_close(other.metrics[0], one.metrics[0], 1e-5)
    # After the first step the velocity is the gradient times the rate.
    assert_close(other.states[0].velocity, one.states[0].velocity, 1e-4)
    assert_close(other.states[0].params, one.states[0].params, 1e-5)


@pytest.mark.parametrize("shape", OTHERS)
def test_ten_steps_are_the_same_on_any_mesh(shape):
    one, other = (ten_steps(s) for s in (ONE_DEVICE, shape))
    for a, b in zip(other.metrics, one.metrics, strict=True):
        assert_close(a, b, 1e-3)
    assert_close(other.states[-1].params, one.states[-1].params, 1e-3)
    assert other.states[-1].step == one.states[-1].step == STEPS


def test_step_that_is_compiled_ahead_is_not_compiled_anew(caplog: pytest.LogCaptureFixture):
    fields, mesh = recipe(), miniature.mesh(2, 2)
    step = make_train_step(fields, NUM_CLASSES, mesh)
    state, statistics = placed(initial(), (2, 2)), replicate(mesh, miniature.statistics())
    batch = to_devices(mesh, miniature.batch(fields), fields.batch_size)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        like = abstract_state(fields, NUM_CLASSES, mesh)
        step.lower(like, *abstract_inputs(fields, mesh)).compile()
        state, _ = step(state, batch, statistics, np.float32(RATE))
        with jax.no_tracing():
            step(state, batch, statistics, np.float32(RATE))
    assert sum(m.startswith("Compiling jit(step)") for m in caplog.messages) == 1


def test_the_step_of_cpus_needs_less_memory_than_xla_by_default_takes():
    step = make_train_step(recipe(), NUM_CLASSES, miniature.mesh(1, 2))
    like = abstract_state(recipe(), NUM_CLASSES, miniature.mesh(1, 2))
    inputs = abstract_inputs(recipe(), miniature.mesh(1, 2))
    default = jax.jit(step.__wrapped__, donate_argnums=0)

    def temporary(compiled) -> int:
        return compiled.memory_analysis().temp_size_in_bytes

    ours = temporary(step.lower(like, *inputs).compile())
    assert ours < 0.5 * temporary(default.lower(like, *inputs).compile())


def test_training_on_one_batch_fits_it():
    run = train((2, 2), "plain", stop=60, rate=0.01, **miniature.batch(recipe()))
    assert run.metrics[-1]["loss"] < 0.2 * run.metrics[0]["loss"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
def test_same_mesh_repeats_a_run_bitwise(shape):
    again = train(shape, stop=4)
    assert_identical(again.states[-1], ten_steps(shape).states[3])
    assert_identical(again.metrics, ten_steps(shape).metrics[:4])


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
def test_resumed_run_draws_the_same_random_numbers(shape):
    whole = ten_steps(shape)
    resumed = train(shape, start=whole.states[3], stop=6)
    assert_identical(resumed.states[-1], whole.states[5])
    assert_identical(resumed.metrics, whole.metrics[4:6])


def first_loss(variant: str = "random", step: int = 0) -> float:
    """Of the first batch, were it that of another step."""
    start = dataclasses.replace(initial(), step=np.int32(step))
    batch = miniature.batch(recipe())
    shape = (2, 2) if variant in ("noise", "plain") else (1, 1)
    return float(train(shape, variant, start=start, stop=step + 1, **batch).metrics[0]["loss"])


def test_random_numbers_change_with_the_step_and_the_seed():
    losses = [first_loss(), first_loss(step=1), first_loss("reseeded")]
    assert np.diff(sorted(losses)).min() > 1e-3
    assert first_loss(step=1) == losses[1]
    assert first_loss("plain", step=1) == first_loss("plain")


def test_color_noise_changes_with_the_step():
    losses = [first_loss("plain"), first_loss("noise"), first_loss("noise", step=1)]
    assert np.diff(sorted(losses)).min() > 1e-3


def test_dropout_masks_differ_between_the_examples_of_the_global_batch():
    # Every unit of fc7 is one and every class as probable, so that fc8's gradient counts the
    # examples for which a unit was kept.
    start = jax.tree.map(np.zeros_like, initial())
    start.params["fc7"]["bias"] += 1
    labels = np.zeros(miniature.BATCH_SIZE, np.int32)
    counts = []
    for shape in (ONE_DEVICE, (4, 2)):
        (state,) = train(shape, start=start, label=labels).states
        tower_of_class_0 = (state.params["fc8"]["kernel"] / -RATE)[0]
        kept = tower_of_class_0[:, 0] / ((1 / NUM_CLASSES - 1) / miniature.BATCH_SIZE)
        np.testing.assert_allclose(kept, kept.round(), atol=1e-3)
        counts.append(kept.round())
    np.testing.assert_array_equal(*counts)
    assert counts[0].mean() == pytest.approx(miniature.BATCH_SIZE / 2, abs=1)
    assert len(set(counts[0])) > 3


def test_the_state_given_is_consumed_and_its_memory_used_again():
    mesh = miniature.mesh(2, 2)
    state = placed(initial(), (2, 2))
    batch = to_devices(mesh, miniature.batch(recipe()), miniature.BATCH_SIZE)
    compiled("random", (2, 2))(state, batch, replicate(mesh, miniature.statistics()), RATE)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.velocity)))
    assert not any(leaf.is_deleted() for leaf in batch.values())


def numpy_crops(batch: dict[str, np.ndarray], form: str) -> np.ndarray:
    """The images minus the mean image's part under each crop, mirrored with it, or its center."""
    mean = miniature.statistics().mean
    images = batch["image"].astype(np.float32)
    crop = images.shape[1]
    for image, (row, column), flip in zip(images, batch["offset"], batch["flip"], strict=True):
        if form == "center":
            row = column = (len(mean) - crop) // 2
        part = mean[row : row + crop, column : column + crop]
        image -= part[:, ::-1] if flip and form == "aligned" else part
    return images


def initial_network() -> AlexNet:
    model = nnx.eval_shape(
        lambda: AlexNet(
            NUM_CLASSES, Architecture.from_config(recipe("plain").model), rngs=nnx.Rngs(0)
        )
    )
    nnx.update(model, jax.tree.map(jnp.asarray, initial().params))
    return model


@pytest.mark.parametrize(
    ("form", "shape"), [("plain", (1, 1)), ("plain", (1, 2)), ("plain", (2, 2)), ("center", (4, 2))]
)
def test_the_loss_is_the_mean_cross_entropy_over_the_global_batch(form, shape):
    batch = miniature.batch(recipe())
    crops = numpy_crops(batch, recipe(form).augment.mean)
    logits = np.asarray(nnx.jit(initial_network())(crops), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -log_p[np.arange(len(log_p)), batch["label"]].mean()
    order = np.argsort(-logits, axis=1, kind="stable")
    rank = np.argmax(order == batch["label"][:, None], axis=1)

    (metrics,) = train(shape, form).metrics
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    assert metrics["top1_error"] == np.mean(rank >= 1)
    assert metrics["top5_error"] == np.mean(rank >= 5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2)])
def test_of_equal_scores_the_first_class_counts(shape):
    bias = np.array([1, 0, 2, 2, 1, 2, 0, 9], np.float32)  # the last stands for no class
    labels = np.array([0, 2, 3, 5, 5, 6, 1, 4], np.int32)
    start = jax.tree.map(np.zeros_like, initial())
    start.params["fc8"]["bias"] += bias.reshape(2, 4)
    (metrics,) = train(shape, "plain", start=start, label=labels).metrics
    order = list(np.argsort(-bias[:NUM_CLASSES], kind="stable"))
    ranks = np.array([order.index(label) for label in labels])
    assert metrics["top1_error"] == np.mean(ranks >= 1) == 7 / 8
    assert metrics["top5_error"] == np.mean(ranks >= 5) == 2 / 8


def test_the_gradient_is_that_of_the_mean_cross_entropy_and_decays_the_weights_besides():
    batch = miniature.batch(recipe())
    crops = numpy_crops(batch, "aligned")

    @nnx.jit
    @nnx.grad
    def gradient(model: AlexNet) -> jax.Array:
        log_p = jax.nn.log_softmax(model(crops))
        return -jnp.take_along_axis(log_p, batch["label"][:, None], axis=1).mean()

    gradients = nnx.to_pure_dict(gradient(initial_network()))
    norm = np.sqrt(sum((np.asarray(leaf) ** 2).sum() for leaf in jax.tree.leaves(gradients)))
    run = train((2, 2), "plain", rate=0.5)
    np.testing.assert_allclose(run.metrics[0]["grad_norm"], norm, rtol=1e-5)
    expected = jax.tree.map(
        lambda w, g: w - 0.5 * (g + WEIGHT_DECAY * w), initial().params, gradients
    )
    assert_close(run.states[0].params, expected, 1e-5)
