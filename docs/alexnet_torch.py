"""A network of this project in PyTorch, from a file of `python -m src.convert --to=FILE`.

    network = load("alexnet.safetensors")
    probabilities = network(pixels).softmax(dim=1)  # uint8 (N, size, size, 3), RGB

This file needs torch and safetensors, but nothing from this project, so you can copy it anywhere.
"""

import json

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional


def load(path: str) -> "AlexNet":
    """The network in a file. Its `class_names` are in the order of its outputs."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = AlexNet(json.loads(header["architecture"]), tensors)
    network.class_names = json.loads(header["class_names"])
    return network.eval()


class AlexNet(nn.Module):
    """Maps uint8 images (N, size, size, 3) to logits (N, classes). Crops the center first."""

    def __init__(self, architecture: dict, tensors: dict[str, torch.Tensor]):
        super().__init__()
        self.architecture = architecture
        self.towers = architecture["towers"]
        self.register_buffer("mean", tensors["mean"])
        for name, tensor in tensors.items():
            if name != "mean":
                self.register_parameter(name.replace(".", "_"), nn.Parameter(tensor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = self.architecture["image_size"]
        start = (images.shape[1] - size) // 2
        crop = slice(start, start + size)
        x = (images.float() - self.mean)[:, crop, crop].permute(0, 3, 1, 2)
        x = x * self.architecture["input_scale"]
        for number, name in enumerate(by_number(self.architecture["convs"])):
            spec = self.architecture["convs"][name]
            has_all_inputs = number == 0 or name in self.architecture["exchange_before"]
            x = self.convolve(name, spec, x, groups=1 if has_all_inputs else self.towers)
            for operation in spec["followed_by"]:
                x = self.apply_operation(operation, x)
        x = x.flatten(1)
        names = by_number(self.architecture["dense"])
        for name in names:
            x = functional.linear(x, self.tensor(name, "weight"), self.tensor(name, "bias"))
            x = x if name == names[-1] else self.activate(x)
        return x

    def tensor(self, layer: str, kind: str) -> torch.Tensor:
        return getattr(self, f"{layer}_{kind}")

    def convolve(self, name: str, spec: dict, x: torch.Tensor, groups: int) -> torch.Tensor:
        weight, bias = self.tensor(name, "weight"), self.tensor(name, "bias")
        before, after = spec["padding"]
        x = functional.pad(x, (before, after, before, after))
        if not spec["local"]:
            return functional.conv2d(x, weight, bias, spec["stride"], groups=groups)
        # Each position has its own kernel: (towers, height, width, in, kh, kw, out).
        towers, height, width, in_maps = weight.shape[:4]
        parts = x.chunk(towers, dim=1) if groups > 1 else [x] * towers
        outputs = []
        for part, kernel, biases in zip(parts, weight, bias, strict=True):
            windows = functional.unfold(part, spec["size"], stride=spec["stride"])
            windows = windows.view(len(x), in_maps * spec["size"] ** 2, height, width)
            output = torch.einsum("nihw,hwio->nohw", windows, kernel.flatten(2, 4))
            outputs.append(output + biases.permute(2, 0, 1))
        return torch.cat(outputs, dim=1)

    def apply_operation(self, operation: str, x: torch.Tensor) -> torch.Tensor:
        if operation == "activation":
            return self.activate(x)
        if operation in self.architecture["pools"]:
            pool = self.architecture["pools"][operation]
            kind = functional.max_pool2d if pool["kind"] == "max" else functional.avg_pool2d
            return kind(x, pool["window"], pool["stride"], ceil_mode=True)
        norm = self.architecture["norms"][operation]
        return self.normalize(norm, x) if norm["enabled"] else x

    def activate(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu() if self.architecture["activation"] == "relu" else x.tanh()

    def normalize(self, norm: dict, x: torch.Tensor) -> torch.Tensor:
        n, squares = norm["n"], x.square()
        if norm["across"] == "spatial":
            total = functional.avg_pool2d(squares, n, 1, n // 2, divisor_override=1)
        else:
            parts = [squares] if norm["across"] == "towers" else squares.chunk(self.towers, dim=1)
            total = torch.cat([sum_of_neighbors(part, n) for part in parts], dim=1)
        return x / (norm["k"] + norm["alpha"] * total) ** norm["beta"]


def sum_of_neighbors(x: torch.Tensor, n: int) -> torch.Tensor:
    """Sums each map of (N, maps, H, W) and its neighbors: n maps, fewer at both ends."""
    padded = functional.pad(x, (0, 0, 0, 0, n // 2, n // 2))
    return sum(padded[:, i : i + x.shape[1]] for i in range(n))


def by_number(layers: dict) -> list[str]:
    """The layers' names, sorted by the numbers in them."""
    return sorted(layers, key=lambda name: int("".join(filter(str.isdigit, name))))
