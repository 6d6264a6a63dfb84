"""The network of a run as a state dict of PyTorch's."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..errors import UserError
from ..filesystem import atomic_write, check_writable
from ..inference.classifier import load
from ..models.architecture import Architecture
from .layout import to_groups


def export_weights(workdir: Path, path: Path, checkpoint: str) -> None:
    """Writes the network of a workdir as a state dict of PyTorch's, in a safetensors file.

    Its tensors are NAME.weight and NAME.bias of each layer, by groups (`weights.layout`), and
    `mean`, (size, size, 3). Its header has what docs/alexnet_torch.py needs besides.

    Raises:
      UserError: there is no network, or the file can't be written.
    """
    if path.suffix != ".safetensors":
        raise UserError(f"--to={path}: name it .safetensors, which it is")
    check_writable("to", path)
    classifier = load(workdir, checkpoint=checkpoint)
    config = classifier.config
    architecture = Architecture.from_config(config.model)
    layers = to_groups(classifier.params, architecture, len(classifier.class_names))
    tensors = {"mean": np.asarray(classifier.statistics.mean)}
    for name, (weights, biases) in layers.items():
        tensors |= {f"{name}.weight": weights, f"{name}.bias": biases}
    header = {
        "architecture": json.dumps(config.model.to_dict()),
        "class_names": json.dumps(classifier.class_names),
    }
    with atomic_write(path) as incomplete:
        incomplete.write_bytes(save(tensors, header))
