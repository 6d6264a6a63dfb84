"""Writes a run's network as a state dict for PyTorch."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..errors import UserError
from ..filesystem import atomic_write, check_writable
from ..inference.classifier import load
from ..models.factory import rescale
from .tensor_layout import to_groups


def export_weights(workdir: Path, path: Path, checkpoint: str) -> None:
    """Writes a run's "newest" or "best" network as a state dict for PyTorch, a .safetensors file.

    The tensors are NAME.weight and NAME.bias of each layer, by groups (`convert.tensor_layout`),
    and `mean` (size, size, 3). The header has the class names and the architecture as JSON.

    Raises:
      UserError: there is no checkpoint, or the file cannot be written.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"--to={path}: its extension must be .safetensors")
    check_writable("to", path)
    classifier = load(workdir, checkpoint=checkpoint)
    # Dropout as in PyTorch, which changes nothing where no unit is dropped.
    architecture = dataclasses.replace(classifier.architecture, dropout_scaling="training")
    params = rescale(classifier.params, classifier.architecture, architecture)
    layers = to_groups(params, architecture, len(classifier.class_names))
    tensors = {"mean": np.asarray(classifier.statistics.mean)}
    for name, (weights, biases) in layers.items():
        tensors |= {f"{name}.weight": weights, f"{name}.bias": biases}
    header = {
        "architecture": json.dumps(dataclasses.asdict(architecture)),
        "class_names": json.dumps(classifier.class_names),
    }
    with atomic_write(path) as incomplete:
        incomplete.write_bytes(save(tensors, header))
