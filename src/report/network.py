"""What the layers of a network are, read off the network itself."""

import math
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from ..models import layers as model_layers
from ..models.alexnet import AlexNet
from ..models.architecture import TRAINING_FIELDS, Architecture
from ..models.cifar import PRESETS as CIFAR
from ..models.factory import parameter_counts
from ..models.presets import PRESETS
from ..runs.config import differences

PUBLISHED = {f"AlexNet ({name})": preset for name, preset in PRESETS.items()}
PUBLISHED |= {f"cuda-convnet's {name}": preset for name, preset in CIFAR.items()}
# What a network may have of its own without being another: the page says it elsewhere.
OF_ITS_OWN = (*TRAINING_FIELDS, "image_size", "input_scale")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer; shapes are of one image in one tower, (height, width, maps) or (units,)."""

    name: str
    received: int  # numbers that a tower gets of each other one; 0 where it sees only its own
    sees: Shape
    makes: Shape  # before what follows
    hands_on: Shape
    parameters: int  # of all towers
    kernel: str  # in words; empty where there is none
    size: int  # of the kernel's side; 0 where there is none
    followed_by: tuple[str, ...]  # what follows
    normalized: Shape | None  # what is normalized together with the other towers' maps


@dataclass(frozen=True)
class Network:
    """A network's layers, and what they add up to."""

    towers: int
    image: Shape
    layers: list[Layer]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def sent(self) -> int:
        """The numbers that a tower sends to each other one for an image."""
        if self.towers == 1:
            return 0
        normalized = [math.prod(layer.normalized) for layer in self.layers if layer.normalized]
        return sum(layer.received for layer in self.layers) + sum(normalized)

    @property
    def normalizes_together(self) -> bool:
        return any(layer.normalized for layer in self.layers)


def read(architecture: Architecture, num_classes: int) -> Network:
    """Asks the network for the shapes of its parameters and activations; nothing is computed."""
    graph, params = nnx.split(
        nnx.eval_shape(lambda: AlexNet(num_classes, architecture, rngs=nnx.Rngs(0)))
    )
    names = [*architecture.convs, *architecture.dense]
    image = (architecture.image_size, architecture.image_size, 3)

    def trace(params: nnx.State, images: jax.Array) -> list[dict[str, jax.Array]]:
        """Of each layer in turn, what its first tower sees, makes and hands on."""
        model = nnx.merge(graph, params)
        activations = model.activations(images)
        found = []
        h = [images] * architecture.towers
        for name in names:
            if name in architecture.dense:
                h = [x.reshape(len(x), -1) for x in h]
            if name in architecture.exchange_before:
                h = model_layers.exchange(h, architecture.towers)
            made = getattr(model, name)(h)
            found.append({"sees": h[0], "makes": made[0], "hands_on": activations[name][0]})
            h = activations[name]
        return found

    traced = jax.eval_shape(trace, params, jax.ShapeDtypeStruct((1, *image), jnp.float32))
    counts = parameter_counts(architecture, num_classes)
    layers = [
        Layer(
            name=name,
            received=_received(architecture, name, shapes["sees"].shape[1:]),
            parameters=counts[name],
            kernel=_kernel(architecture, name),
            size=architecture.convs[name].size if name in architecture.convs else 0,
            followed_by=_follows(architecture, name),
            normalized=_normalized(architecture, name),
            **{what: tuple(x.shape[1:]) for what, x in shapes.items()},
        )
        for name, shapes in zip(names, traced, strict=True)
    ]
    return Network(architecture.towers, image, layers)


def called(model: ConfigDict) -> str:
    """The published network that a recipe's is, or of which it is a variation."""
    differing = {name: _differing(model, preset) for name, preset in PUBLISHED.items()}
    nearest = min(differing, key=differing.__getitem__)
    return f"{nearest}{', varied' * bool(differing[nearest])}"


def _differing(model: ConfigDict, preset: Architecture) -> int:
    found = differences(model, ConfigDict(asdict(preset)))
    return sum(name.rpartition(".")[-1] not in OF_ITS_OWN for name, _, _ in found)


def _received(architecture: Architecture, name: str, sees: Shape) -> int:
    exchanged = name in architecture.exchange_before and architecture.towers > 1
    return math.prod(sees) // architecture.towers if exchanged else 0


def _kernel(architecture: Architecture, name: str) -> str:
    if name not in architecture.convs:
        return ""
    spec = architecture.convs[name]
    stride = f", stride {spec.stride}" if spec.stride > 1 else ""
    return f"{spec.size}×{spec.size}{stride}{', local' * spec.local}"


def _follows(architecture: Architecture, name: str) -> tuple[str, ...]:
    if name not in architecture.convs:
        if name == list(architecture.dense)[-1]:
            return ("softmax",)
        dropout = (f"dropout {architecture.dropout:g}",) if architecture.dropout else ()
        return _nonlinearity(architecture), *dropout
    words = []
    for operation in architecture.convs[name].followed_by:
        if operation == "activation":
            words.append(_nonlinearity(architecture))
        elif operation in architecture.pools:
            pool = architecture.pools[operation]
            words.append(f"{pool.kind} pool {pool.window}/{pool.stride}")
        elif architecture.norms[operation].enabled:
            words.append("normalize")
    return tuple(words)


def _normalized(architecture: Architecture, name: str) -> Shape | None:
    if name not in architecture.convs:
        return None
    spec = architecture.convs[name]
    convolved, pooled = architecture.spatial_sizes()[name]
    side = convolved
    for operation in spec.followed_by:
        if operation in architecture.pools:
            side = pooled
        elif operation in architecture.norms:
            norm = architecture.norms[operation]
            if norm.enabled and norm.across == "towers":
                return side, side, spec.maps // architecture.towers
    return None


def _nonlinearity(architecture: Architecture) -> str:
    return {"relu": "ReLU"}.get(architecture.activation, architecture.activation)
