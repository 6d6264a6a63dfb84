from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import src.evaluate
from src.data.pipeline import Batch
from src.evaluate import Member, evaluate
from tests import miniature

BATCHES, GLOBAL_BATCH, CLASSES = 8, 2, 3


def slowly(params: None, images: jax.Array, statistics: None) -> jax.Array:
    """Log-probabilities, after some tens of milliseconds."""
    zero = jax.lax.fori_loop(0, 100, lambda _, x: x @ x, jnp.zeros((400, 400)))[0, 0]
    return jax.nn.log_softmax(images[:, 0, 0] + zero)


def test_batches_do_not_pile_up_before_a_slow_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that wait, each takes one of the few threads that the CPU's devices share."""
    started: list[dict[str, jax.Array]] = []
    make = src.evaluate._adder

    def watched(classify: tuple) -> Callable[..., Any]:
        add = make(classify)

        def watched_add(*arguments: Any) -> dict[str, jax.Array]:
            started.append(add(*arguments))
            return started[-1]

        return watched_add

    def batches() -> Iterator[Batch]:
        for _ in range(BATCHES):
            assert sum(not totals["loss"].is_ready() for totals in started) <= 1
            yield {
                "image": np.eye(CLASSES, dtype=np.uint8)[None, None].repeat(GLOBAL_BATCH, 0),
                "label": np.zeros(GLOBAL_BATCH, np.int32),
                "mask": np.ones(GLOBAL_BATCH, np.float32),
            }

    monkeypatch.setattr(src.evaluate, "_adder", watched)
    result = evaluate([Member(slowly, None, None, batches)], miniature.mesh(1, 1), GLOBAL_BATCH)
    assert result is not None
    assert result["examples"] == BATCHES * GLOBAL_BATCH
