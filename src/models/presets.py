"""Published networks of the AlexNet family, each as the fields that tell it from the others.

preset        what it is                                               parameters
PAPER         the network of the paper's text, split over two GPUs     60,965,224
CHM145        the one that the authors' released code ran (run #145)   60,965,224
ONE_GPU       the paper's one-GPU comparator (run #145-half)           59,798,312
TORCHVISION   the one column of "One weird trick", as in torchvision   61,100,840
BVLC          Caffe's bvlc_alexnet                                     60,965,224
CAFFENET      Caffe's bvlc_reference_caffenet                          60,965,224

Those that the same authors' cuda-convnet came with for CIFAR-10 are in src.models.cifar.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from src.errors import UserError


def depth(name: str) -> int:
    """The number in a layer's name, such as 10 in conv10; 0 where there is none."""
    return int("".join(filter(str.isdecimal, name)) or 0)


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """A convolutional layer over all towers, and what follows it."""

    maps: int  # of all towers together
    size: int  # of the kernel's side, in pixels of its input
    stride: int = 1
    padding: tuple[int, int] = (0, 0)  # top and left, bottom and right
    sigma: float = 0.01  # standard deviation of the initial weights, where `init` is "gaussian"
    bias: float = 0.0  # initial value
    then: tuple[str, ...] = ("activation",)  # "activation", or names in `pools` and `norms`
    local: bool = False  # whether each place has a kernel and biases of its own


@dataclasses.dataclass(frozen=True)
class DenseSpec:
    """A fully-connected layer over all towers."""

    units: int = 0  # the last layer has none of its own: it makes as many as there are classes
    sigma: float = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class PoolSpec:
    """The maximum or the average of window × window places, every `stride` places.

    A last window that reaches beyond the border has fewer places, as in cuda-convnet; in the
    networks of the paper there is none.
    """

    window: int = 3
    stride: int = 2
    kind: str = "max"  # or "average"


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """x / (k + alpha · Σ x²)^beta over a window of `n` maps, or of n × n places of the same map."""

    n: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75
    across: str = "maps"  # of the tower, or "places", or "towers": the maps of all
    on: bool = True


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An AlexNet: every choice that tells one of its published relatives from another."""

    convs: Mapping[str, ConvSpec]  # in the order of the numbers in their names
    dense: Mapping[str, DenseSpec]  # likewise
    norms: Mapping[str, NormSpec]
    pools: Mapping[str, PoolSpec]
    image_size: int = 224
    input_scale: float = 1.0  # multiplies the mean-subtracted image
    towers: int = 2
    exchange_before: tuple[str, ...] = ("conv3", "fc6", "fc7", "fc8")  # layers that see all maps
    activation: str = "relu"  # or "tanh"
    dropout: float = 0.5  # probability that a unit of the dense layers but the last is zeroed
    # Of weights: "gaussian" with each layer's sigma, "he" with the square root of 2 / fan-in, or
    # "pytorch", uniform within 1 / the square root of fan-in.
    init: str = "gaussian"

    def __post_init__(self) -> None:
        """Raises UserError where the fields make no network."""
        for field, names in [("convs", self.convs), ("dense", self.dense)]:
            if list(names) != sorted(names, key=depth):
                raise UserError(
                    f"config.model.{field}: {', '.join(names)} are not in their numbers' order"
                )
        later = [*self.convs, *self.dense][1:]
        for name in self.exchange_before:
            if name not in later:
                raise UserError(
                    f"config.model.exchange_before: {name!r} is none of {', '.join(later)}"
                )
        for field, number in [
            ("towers", self.towers),
            *((f"pools.{name}.stride", pool.stride) for name, pool in self.pools.items()),
            *((f"convs.{name}.maps", spec.maps) for name, spec in self.convs.items()),
            *((f"convs.{name}.size", spec.size) for name, spec in self.convs.items()),
            *((f"convs.{name}.stride", spec.stride) for name, spec in self.convs.items()),
        ]:
            if number < 1:
                raise UserError(f"config.model.{field}: {number} is not positive")
        if not 0 <= self.dropout < 1:
            raise UserError(
                f"config.model.dropout: {self.dropout} is no probability of less than 1"
            )
        *hidden, last = self.dense
        for name in hidden:
            if self.dense[name].units < 1:
                raise UserError(
                    f"config.model.dense.{name}.units: {self.dense[name].units} is not positive"
                )
        if self.dense[last].units:
            raise UserError(
                f"config.model.dense.{last}.units: {self.dense[last].units}; the last layer has "
                "as many as there are classes; leave it at 0"
            )
        widths = {name: spec.maps for name, spec in self.convs.items()}
        widths |= {name: spec.units for name, spec in self.dense.items()}
        for name, width in widths.items():
            if width % self.towers:
                raise UserError(
                    f"config.model.towers: {self.towers} don't divide the {width} maps of {name}"
                )
        for field, value, known in [
            ("activation", self.activation, ("relu", "tanh")),
            ("init", self.init, ("gaussian", "he", "pytorch")),
            *(
                (f"convs.{name}.then", operation, ("activation", *self.pools, *self.norms))
                for name, spec in self.convs.items()
                for operation in spec.then
            ),
            *(
                (f"norms.{name}.across", norm.across, ("maps", "places", "towers"))
                for name, norm in self.norms.items()
            ),
            *(
                (f"pools.{name}.kind", pool.kind, ("max", "average"))
                for name, pool in self.pools.items()
            ),
        ]:
            if value not in known:
                raise UserError(f"config.model.{field}: {value!r} is none of {', '.join(known)}")
        for name, norm in self.norms.items():
            if norm.n < 1 or norm.n % 2 == 0:
                raise UserError(
                    f"config.model.norms.{name}.n: a window of {norm.n} has no middle; take 5, say"
                )
        for name, pool in self.pools.items():
            if pool.window < pool.stride:
                raise UserError(
                    f"config.model.pools.{name}: windows of {pool.window} leave out places with a "
                    f"stride of {pool.stride}"
                )
        if min(min(sides) for sides in self.sides().values()) < 1:
            raise UserError(
                f"config.model.image_size: {self.image_size} pixels are too few for the layers"
            )

    def sides(self) -> dict[str, tuple[int, int]]:
        """Height and width of each convolutional layer's maps: convolved, and handed on."""
        sides = {}
        side = self.image_size
        for name, spec in self.convs.items():
            side = convolved = (side + sum(spec.padding) - spec.size) // spec.stride + 1
            for pool in (self.pools[then] for then in spec.then if then in self.pools):
                side = math.ceil((side - pool.window) / pool.stride) + 1
            sides[name] = (convolved, side)
        return sides

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Architecture":
        """The inverse of `dataclasses.asdict`."""
        nested = {"convs": ConvSpec, "dense": DenseSpec, "norms": NormSpec, "pools": PoolSpec}
        built = {  # ConfigDict has sorted the names, as text
            field: {name: spec(**fields[field][name]) for name in sorted(fields[field], key=depth)}
            for field, spec in nested.items()
        }
        return cls(**{**fields, **built})


PAPER = Architecture(
    convs={
        "conv1": ConvSpec(96, 11, stride=4, padding=(0, 3), then=("activation", "lrn", "pool")),
        "conv2": ConvSpec(256, 5, padding=(2, 2), bias=1.0, then=("activation", "lrn", "pool")),
        "conv3": ConvSpec(384, 3, padding=(1, 1)),
        "conv4": ConvSpec(384, 3, padding=(1, 1), bias=1.0),
        "conv5": ConvSpec(256, 3, padding=(1, 1), bias=1.0, then=("activation", "pool")),
    },
    dense={
        "fc6": DenseSpec(4096, bias=1.0),
        "fc7": DenseSpec(4096, bias=1.0),
        "fc8": DenseSpec(),
    },
    norms={"lrn": NormSpec()},
    pools={"pool": PoolSpec()},
)


def _with_convs(base: Architecture, **changes: Mapping[str, Any]) -> Mapping[str, ConvSpec]:
    return {**base.convs, **{name: replace(base.convs[name], **changes[name]) for name in changes}}


CHM145 = replace(
    PAPER,
    convs=_with_convs(
        PAPER,
        conv1={"then": ("lrn", "pool", "activation")},
        conv2={"then": ("activation", "lrn", "same_map", "pool")},
        conv3={"sigma": 0.03},
        conv4={"sigma": 0.03},
        conv5={"sigma": 0.03, "then": ("pool", "activation")},
    ),
    # The code divides alpha by the size of the window.
    norms={
        "lrn": NormSpec(alpha=1e-4 / 5),
        "same_map": NormSpec(k=1.0, alpha=0.001 / 25, across="places"),
    },
)

ONE_GPU = replace(
    PAPER,
    towers=1,
    convs=_with_convs(
        PAPER,
        conv1={"maps": 48},
        conv2={"maps": 128},
        conv3={"maps": 192},
        conv4={"maps": 192},
    ),
)

# Two towers that exchange everything are one column, which can still be split over two devices.
TORCHVISION = replace(
    PAPER,
    exchange_before=("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"),
    convs=_with_convs(
        PAPER,
        conv1={"maps": 64, "padding": (2, 2), "then": ("activation", "pool")},
        conv2={"maps": 192, "bias": 0.0, "then": ("activation", "pool")},
        conv4={"maps": 256, "bias": 0.0},
        conv5={"bias": 0.0},
    ),
    dense={"fc6": DenseSpec(4096), "fc7": DenseSpec(4096), "fc8": DenseSpec()},
    norms={},
    init="pytorch",
    input_scale=1 / 58,  # about what torchvision divides by: its colours' deviations
)

# Caffe's windows reach from one group's maps into the other's; it divides alpha by their size.
BVLC = replace(
    PAPER,
    image_size=227,
    convs=_with_convs(
        PAPER,
        conv1={"padding": (0, 0)},
        conv2={"bias": 0.1},
        conv4={"bias": 0.1},
        conv5={"bias": 0.1},
    ),
    dense={
        "fc6": DenseSpec(4096, sigma=0.005, bias=0.1),
        "fc7": DenseSpec(4096, sigma=0.005, bias=0.1),
        "fc8": DenseSpec(),
    },
    norms={"lrn": NormSpec(k=1.0, alpha=1e-4 / 5, across="towers")},
)

CAFFENET = replace(
    BVLC,
    convs=_with_convs(
        PAPER,
        conv1={"padding": (0, 0), "then": ("activation", "pool", "lrn")},
        conv2={"then": ("activation", "pool", "lrn")},
    ),
    dense={
        "fc6": DenseSpec(4096, sigma=0.005, bias=1.0),
        "fc7": DenseSpec(4096, sigma=0.005, bias=1.0),
        "fc8": DenseSpec(),
    },
)

PRESETS = {
    "paper": PAPER,
    "chm145": CHM145,
    "one_gpu": ONE_GPU,
    "torchvision": TORCHVISION,
    "bvlc": BVLC,
    "caffenet": CAFFENET,
}
