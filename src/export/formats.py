"""The file formats of exported networks."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp

Network = Callable[[jax.Array], jax.Array]
"""From images, uint8 (N, size, size, 3), to probabilities, float32 (N, classes)."""

BATCH = "batch"  # the name of the symbolic batch dimension


def to_jax(network: Network, size: int, path: Path) -> None:
    """Writes StableHLO for CPUs and NVIDIA GPUs, as `jax.export.deserialize` reads it."""
    export = jax.export.export(jax.jit(network), platforms=("cpu", "cuda"))
    path.write_bytes(export(_images(size)).serialize())


def to_savedmodel(network: Network, size: int, path: Path) -> None:
    """Writes a TensorFlow SavedModel, a directory. Its default signature takes `images`."""
    import tensorflow as tf  # the import takes seconds
    from jax.experimental import jax2tf

    shape = f"({BATCH}, {size}, {size}, 3)"
    converted = jax2tf.convert(network, polymorphic_shapes=[shape], with_gradient=False)
    module = tf.Module()
    module.probabilities = tf.function(
        lambda images: {"probabilities": converted(images)},
        input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")],
        autograph=False,
    )
    tf.saved_model.save(module, str(path), signatures=module.probabilities)


def to_onnx(network: Network, size: int, path: Path) -> None:
    """Writes ONNX with the input `images` and the output `probabilities`."""
    import jax2onnx

    jax2onnx.to_onnx(
        network,
        [_images(size)],
        model_name="alexnet",
        input_names=["images"],
        output_names=["probabilities"],
        return_mode="file",
        output_path=str(path),
        export_mode="web",  # one file that includes the weights
    )


def _images(size: int) -> jax.ShapeDtypeStruct:
    shape = jax.export.symbolic_shape(f"{BATCH}, {size}, {size}, 3")
    return jax.ShapeDtypeStruct(shape, jnp.uint8)


FORMATS = {"jax": to_jax, "savedmodel": to_savedmodel, "onnx": to_onnx}
