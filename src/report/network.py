"""The layers of a network as the page describes them: shapes, parameters, exchanged values."""

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
SHOWN_ELSEWHERE = ("image_size", "input_scale")  # a network may differ in them and keep its name

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer; shapes are of one image in one tower, (height, width, maps) or (units,)."""

    name: str
    received: int  # values that a tower gets from each other tower before the layer
    input: Shape
    preactivation: Shape  # before the operations that follow
    output: Shape
    parameters: int  # of all towers
    kernel: str  # in words; empty for a dense layer
    size: int  # of the kernel's side; 0 for a dense layer
    followed_by: tuple[str, ...]  # operations, in words
    normalized: Shape | None  # what is normalized together with the other towers' maps


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
        if self.towers == 1:
            return 0
        normalized = [math.prod(layer.normalized) for layer in self.layers if layer.normalized]
        return sum(layer.received for layer in self.layers) + sum(normalized)

    @property
    def normalizes_together(self) -> bool:
        return any(layer.normalized for layer in self.layers)


def describe(net: Architecture, num_classes: int) -> Network:
    """Derives every layer's shapes from the architecture."""
    counts, sizes = parameter_counts(net, num_classes), net.spatial_sizes()
    image: Shape = (net.image_size, net.image_size, 3)
    shape: Shape = image
    before: Shape
    layers = []
    for name in net.layer_names:
        conv = net.convs.get(name)
        if not conv:
            shape = (math.prod(shape),)
        exchanged = net.towers > 1 and name in net.exchange_before
        received = math.prod(shape) if exchanged else 0
        inputs = (*shape[:-1], shape[-1] * net.towers) if exchanged else shape
        if conv:
            maps = conv.maps // net.towers
            before, shape = ((side, side, maps) for side in sizes[name])
        else:
            before = shape = (math.ceil((net.dense[name].units or num_classes) / net.towers),)
        layers.append(
            Layer(
                name=name,
                received=received,
                input=inputs,
                preactivation=before,
                output=shape,
                parameters=counts[name],
                kernel=_kernel(net, name) if conv else "",
                size=conv.size if conv else 0,
                followed_by=_operations(net, name) if conv else _dense_operations(net, name),
                normalized=_normalized(net, name) if conv else None,
            )
        )
    return Network(net.towers, image, layers)


def published_name(model: ConfigDict) -> str:
    """The published network that `config.model` is, or the nearest one and ", varied"."""

    def distance(name: str) -> int:
        changes = network_differences(model, ConfigDict(asdict(PUBLISHED[name])))
        return sum(field not in SHOWN_ELSEWHERE for field, _, _ in changes)

    nearest = min(PUBLISHED, key=distance)
    return f"{nearest}, varied" if distance(nearest) else nearest


def _kernel(net: Architecture, name: str) -> str:
    spec = net.convs[name]
    stride = f", stride {spec.stride}" if spec.stride > 1 else ""
    return f"{spec.size}×{spec.size}{stride}{', local' * spec.local}"


def _operations(net: Architecture, name: str) -> tuple[str, ...]:
    words = []
    for operation in net.convs[name].followed_by:
        if operation == "activation":
            words.append(_activation(net))
        elif operation in net.pools:
            pool = net.pools[operation]
            words.append(f"{pool.kind} pool {pool.window}/{pool.stride}")
        elif net.norms[operation].enabled:
            words.append("normalize")
    return tuple(words)


def _dense_operations(net: Architecture, name: str) -> tuple[str, ...]:
    if name == net.head:
        return ("softmax",)
    return _activation(net), *([f"dropout {net.dropout:g}"] if net.dropout else [])


def _normalized(net: Architecture, name: str) -> Shape | None:
    side, pooled = net.spatial_sizes()[name]
    for operation in net.convs[name].followed_by:
        if operation in net.pools:
            side = pooled
        elif (norm := net.norms.get(operation)) and norm.enabled and norm.across == "towers":
            return side, side, net.convs[name].maps // net.towers
    return None


def _activation(net: Architecture) -> str:
    return {"relu": "ReLU"}.get(net.activation, net.activation)
