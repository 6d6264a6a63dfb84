"""The file formats of exported networks."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
from jaxlib.mlir.dialects import stablehlo

Network = Callable[[jax.Array], jax.Array]
"""From images, uint8 (N, size, size, 3), to probabilities, float32 (N, classes)."""

BATCH = "batch"  # the name of the symbolic batch dimension


def to_jax(network: Network, size: int, path: Path) -> None:
    """Writes StableHLO for CPUs and NVIDIA GPUs, as `jax.export.deserialize` reads it."""
    path.write_bytes(_export(network, size).serialize())


def to_savedmodel(network: Network, size: int, path: Path) -> None:
    """Writes a TensorFlow SavedModel, a directory. Its default signature takes `images`."""
    import tensorflow as tf  # the import takes seconds
    from tensorflow.compiler.tf2xla.python import xla

    exported = _export(network, size)
    # TensorFlow lags behind JAX: it cannot read the StableHLO that JAX, and `jax2tf`, write.
    version = stablehlo.get_minimum_version()
    module = stablehlo.serialize_portable_artifact_str(exported.mlir_module(), version)

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        (probabilities,) = xla.call_module(
            [images],
            version=exported.calling_convention_version,
            module=module,
            Tout=[tf.float32],
            Sout=[[None, exported.out_avals[0].shape[1]]],
            platforms=[platform.upper() for platform in exported.platforms],
        )
        return {"probabilities": probabilities}

    images = tf.TensorSpec([None, size, size, 3], tf.uint8, name="images")
    model = tf.Module()
    model.probabilities = tf.function(call, input_signature=[images], autograph=False)
    tf.saved_model.save(model, str(path), signatures=model.probabilities)


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


def _export(network: Network, size: int) -> jax.export.Exported:
    return jax.export.export(jax.jit(network), platforms=("cpu", "cuda"))(_images(size))


def _images(size: int) -> jax.ShapeDtypeStruct:
    shape = jax.export.symbolic_shape(f"{BATCH}, {size}, {size}, 3")
    return jax.ShapeDtypeStruct(shape, jnp.uint8)


FORMATS = {"jax": to_jax, "savedmodel": to_savedmodel, "onnx": to_onnx}
