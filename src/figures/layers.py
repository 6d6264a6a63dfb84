"""The layers of a network as figures show them: shapes, parameters, exchanged values."""

import math
from dataclasses import asdict, dataclass

from ml_collections import ConfigDict

from ..models.architecture import Architecture
from ..models.cifar import PRESETS as CIFAR
from ..models.factory import parameter_counts
from ..models.presets import PRESETS
from ..runs.config import network_differences

PUBLISHED = {f"AlexNet ({name})": preset for name, preset in PRESETS.items()}
PUBLISHED |= {f"cuda-convnet's {name}": preset for name, preset in CIFAR.items()}
NOT_COMPARED = ("image_size", "input_scale")  # a network may differ in them and keep its name

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer; shapes are of one image in one tower, (height, width, maps) or (units,)."""

    name: str
    received: int  # values that a tower receives from each other tower before the layer
    input: Shape
    preactivation: Shape  # before the operations that follow
    output: Shape
    parameters: int  # of all towers
    size: int  # of the kernel's side; 0 for a dense layer
    operations: list[str]  # the convolution, and all that follows
    normalized: int  # values that a tower receives from each other tower to normalize its own


@dataclass(frozen=True)
class Network:
    """A network's layers and their totals."""

    towers: int
    image: Shape
    layers: list[Layer]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def sent(self) -> int:
        """The values that a tower sends to each other tower for an image."""
        return sum(layer.received + layer.normalized for layer in self.layers)


def describe(net: Architecture, num_classes: int) -> Network:
    """Derives every layer's shapes from the architecture."""
    counts, sizes = parameter_counts(net, num_classes), net.spatial_sizes()
    image: Shape = (net.image_size, net.image_size, 3)
    shape, before = image, image
    layers = []
    for name in net.layer_names:
        conv = net.convs.get(name)
        if not conv:
            shape = (math.prod(shape),)
        exchanged = net.towers > 1 and name in net.exchange_before
        received = math.prod(shape) if exchanged else 0
        inputs = (*shape[:-1], shape[-1] * net.towers) if exchanged else shape
        if conv:
            before, shape = ((side, side, conv.maps // net.towers) for side in sizes[name])
        else:
            before = shape = (math.ceil((net.dense[name].units or num_classes) / net.towers),)
        operations, normalized = _operations(net, name)
        layers.append(
            Layer(
                name=name,
                received=received,
                input=inputs,
                preactivation=before,
                output=shape,
                parameters=counts[name],
                size=conv.size if conv else 0,
                operations=operations,
                normalized=normalized,
            )
        )
    return Network(net.towers, image, layers)


def published_name(model: ConfigDict) -> str:
    """The published network that `config.model` is, or the nearest one and ", varied"."""

    def distance(name: str) -> int:
        changes = network_differences(model, ConfigDict(asdict(PUBLISHED[name])))
        return sum(field not in NOT_COMPARED for field, _, _ in changes)

    nearest = min(PUBLISHED, key=distance)
    return f"{nearest}, varied" if distance(nearest) else nearest


def _operations(net: Architecture, name: str) -> tuple[list[str], int]:
    """The operations of a layer, and the values that normalization takes from each other tower."""
    activation = {"relu": "ReLU"}.get(net.activation, net.activation)
    if name == net.head:
        return ["softmax"], 0
    if name in net.dense:
        return [activation, *([f"dropout {net.dropout:g}"] if net.dropout else [])], 0
    conv = net.convs[name]
    stride = f", stride {conv.stride}" if conv.stride > 1 else ""
    operations = [f"{conv.size}×{conv.size}{stride}{', local' * conv.local}"]
    normalized = 0
    side, pooled = net.spatial_sizes()[name]
    for operation in conv.followed_by:
        if operation == "activation":
            operations.append(activation)
        elif pool := net.pools.get(operation):
            operations.append(f"{pool.kind} pool {pool.window}/{pool.stride}")
            side = pooled
        elif net.norms[operation].enabled:
            operations.append("normalize")
            if net.norms[operation].across == "towers" and net.towers > 1:
                normalized = side**2 * conv.maps // net.towers
    return operations, normalized
