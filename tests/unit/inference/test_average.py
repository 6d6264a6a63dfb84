"""The average of several networks, against NumPy."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from src.distributed.mesh import replicate
from src.inference.evaluation import Member, evaluate
from tests.support import miniature

CLASSES, EXAMPLES, BATCH = 7, 11, 4
RANDOM = np.random.default_rng(8)
LABELS = RANDOM.integers(0, CLASSES, EXAMPLES, dtype=np.int32)
SCORES = RANDOM.normal(size=(2, EXAMPLES, CLASSES)).astype(np.float32) * [[[3]], [[1]]]


def classify(params: jax.Array, images: jax.Array, statistics: None) -> jax.Array:
    """Looks up the scores of the examples, whose only pixel is their number."""
    return jax.nn.log_softmax(params[images])


def batches() -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, EXAMPLES, BATCH):
        examples = np.arange(start, start + BATCH)
        real = np.minimum(examples, EXAMPLES - 1)
        mask = (examples < EXAMPLES).astype(np.float32)
        yield {"image": real.astype(np.int32), "label": LABELS[real], "mask": mask}


def test_evaluate_averages_probabilities_and_counts_each_example_once() -> None:
    mesh = miniature.mesh(2, 2)
    members = [
        Member(classify, replicate(mesh, jnp.asarray(scores, jnp.float32)), None, batches)
        for scores in SCORES
    ]
    probabilities = np.exp(SCORES) / np.exp(SCORES).sum(axis=-1, keepdims=True)
    mean = probabilities.mean(axis=0)
    of_label = mean[np.arange(EXAMPLES), LABELS]
    above = (mean > of_label[:, None]).sum(axis=1)
    result = evaluate(members, mesh, BATCH)
    assert result is not None
    assert result["examples"] == EXAMPLES
    np.testing.assert_allclose(result["loss"], -np.log(of_label).mean(), rtol=1e-5)
    np.testing.assert_allclose(result["top1_error"], (above > 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(result["top5_error"], (above > 4).mean(), rtol=1e-6)
