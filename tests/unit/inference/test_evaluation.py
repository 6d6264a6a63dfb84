"""Evaluation, in this process."""

import gc

import jax
import jax.numpy as jnp
import numpy as np

from src.inference.evaluation import Member, evaluate
from src.models.factory import Params
from tests.support import miniature

BATCH_SIZE, NUM_CLASSES = 4, 3


def evaluate_new_network() -> None:
    @jax.jit
    def classify(params: Params, images: jax.Array, statistics: object) -> jax.Array:
        return params["layer"]["bias"] + jnp.zeros((len(images), NUM_CLASSES))

    batch: dict[str, np.ndarray] = {
        "image": np.zeros((BATCH_SIZE, 2, 2, 3), np.uint8),
        "label": np.zeros(BATCH_SIZE, np.int32),
        "mask": np.ones(BATCH_SIZE, np.float32),
    }
    params = {"layer": {"bias": jnp.log(jnp.ones(NUM_CLASSES) / NUM_CLASSES)}}
    member = Member(classify, params, miniature.statistics(), lambda: iter([batch]))
    totals = evaluate([member], miniature.mesh(1, 1), BATCH_SIZE)
    assert totals is not None
    assert totals["examples"] == BATCH_SIZE


def test_programs_of_earlier_networks_are_released() -> None:
    counts = []
    for _ in range(6):
        evaluate_new_network()
        gc.collect()
        counts.append(len(jax.devices()[0].client.live_executables()))
    assert counts[2:] == counts[2:3] * 4
