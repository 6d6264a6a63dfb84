"""The formats that a network can be exported in."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp

Network = Callable[[jax.Array], jax.Array]

BATCH = "batch"  # the dimension of any size


def to_jax(network: Network, size: int, path: Path) -> None:
    """StableHLO for CPUs and NVIDIA's GPUs, which `jax.export.deserialize` reads."""
    images = jax.ShapeDtypeStruct(
        jax.export.symbolic_shape(f"{BATCH}, {size}, {size}, 3"), jnp.uint8
    )
    exported = jax.export.export(jax.jit(network), platforms=("cpu", "cuda"))(images)
    path.write_bytes(exported.serialize())


def to_savedmodel(network: Network, size: int, path: Path) -> None:
    """TensorFlow's SavedModel, a folder, whose default signature takes `images`."""
    import tensorflow as tf  # takes seconds
    from jax.experimental import jax2tf

    shape = f"({BATCH}, {size}, {size}, 3)"
    converted = jax2tf.convert(network, polymorphic_shapes=[shape], with_gradient=False)
    images = tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")
    module = tf.Module()
    module.probabilities = tf.function(
        lambda images: {"probabilities": converted(images)},
        input_signature=[images],
        autograph=False,
    )
    tf.saved_model.save(module, str(path), signatures=module.probabilities)


def to_onnx(network: Network, size: int, path: Path) -> None:
    """ONNX, from `images` to `probabilities`."""
    import jax2onnx

    images = jax.ShapeDtypeStruct(
        jax.export.symbolic_shape(f"{BATCH}, {size}, {size}, 3"), jnp.uint8
    )
    jax2onnx.to_onnx(
        network,
        [images],
        model_name="alexnet",
        input_names=["images"],
        output_names=["probabilities"],
        return_mode="file",
        output_path=str(path),
        export_mode="web",  # the weights inside
    )


FORMATS = {"jax": to_jax, "savedmodel": to_savedmodel, "onnx": to_onnx}
