"""The formats, as other programs read them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from src.export.formats import to_savedmodel


@pytest.mark.parametrize("batch", [1, 3])
def test_tensorflow_runs_the_savedmodel_with_any_batch(batch: int, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    def network(images: jax.Array) -> jax.Array:
        return jax.nn.softmax(images.mean((1, 2), jnp.float32))

    images = np.random.default_rng(0).integers(0, 256, (batch, 8, 8, 3), dtype=np.uint8)
    to_savedmodel(network, 8, tmp_path / "network")
    serve = tf.saved_model.load(str(tmp_path / "network")).signatures["serving_default"]
    probabilities = serve(images=images)["probabilities"]
    np.testing.assert_allclose(probabilities, network(images), atol=1e-5, rtol=0)
