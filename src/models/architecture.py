"""What tells one AlexNet from another, as plain data: its layers, their sizes and connections."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import UserError, check_choice, check_range

TRAINING_FIELDS = ("init", "dropout", "dropout_scaling", "sigma", "bias")
"""Fields that do not change what given weights compute, except dropout's, for which
`factory.rescale` compensates."""


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """A convolutional layer over all towers, and the operations that follow it."""

    maps: int  # of all towers together
    size: int  # height and width of the kernel, in pixels of its input
    stride: int = 1  # in pixels of its input, too
    padding: tuple[int, int] = (0, 0)  # top and left, bottom and right
    sigma: float = 0.01  # standard deviation of the initial weights, where `init` is "gaussian"
    bias: float = 0.0  # initial value of the biases
    followed_by: tuple[str, ...] = ("activation",)  # "activation", or names in `pools` and `norms`
    local: bool = False  # whether each position has its own kernel and biases


@dataclasses.dataclass(frozen=True)
class DenseSpec:
    """A fully-connected layer over all towers."""

    units: int = 0  # 0 for the last layer, which has one unit for each class
    sigma: float = 0.01  # as in ConvSpec
    bias: float = 0.0  # initial value of the biases

    @property
    def followed_by(self) -> tuple[str, ...]:
        """The operations that follow the layer, as in ConvSpec: none after the last layer."""
        return ("activation",) if self.units else ()


@dataclasses.dataclass(frozen=True)
class PoolSpec:
    """The maximum or the average of window × window positions, every `stride` positions.

    A last window that reaches beyond the border has fewer positions, as in cuda-convnet; in the
    networks of the paper there is none.
    """

    window: int = 3  # height and width, in positions
    stride: int = 2  # positions from one window to the next
    kind: str = "max"  # or "average"


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """x / (k + alpha · Σ x²)^beta over `n` maps, or over n × n positions of the same map."""

    n: int = 5  # odd: the size of the window
    k: float = 2.0  # the term that does not depend on x
    alpha: float = 1e-4  # the factor of the sum, not of the mean
    beta: float = 0.75  # the exponent
    across: str = "maps"  # of one tower; "towers": the maps of all; or "spatial": positions
    enabled: bool = True  # False: the layers go without it


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An AlexNet: every choice that tells one of its published relatives from another.

    Raises:
      UserError: the fields describe no network.
    """

    convs: Mapping[str, ConvSpec]  # in the order of the numbers in their names
    dense: Mapping[str, DenseSpec]  # likewise; the last one scores the classes
    norms: Mapping[str, NormSpec]  # by the names that `followed_by` uses
    pools: Mapping[str, PoolSpec]  # likewise
    image_size: int = 224  # height and width of the crops that the network sees, in pixels
    input_scale: float = 1.0  # multiplies the mean-subtracted image
    towers: int = 2  # into which the maps are split
    exchange_before: tuple[str, ...] = ("conv3", "fc6", "fc7", "fc8")  # layers that see all maps
    activation: str = "relu"  # or "tanh"
    dropout: float = 0.5  # probability that a unit of a dense layer is zeroed; never of the last
    # What makes up for the zeroed units: "test" multiplies all outputs by 1 − dropout where none is
    # zeroed (section 4.2); "training" divides the others by it, with steps that are larger.
    dropout_scaling: str = "test"
    # The initial weights: "gaussian" with each layer's sigma, "he" with the square root of
    # 2 / fan-in, or "pytorch", uniform within 1 / the square root of fan-in.
    init: str = "gaussian"

    def __post_init__(self) -> None:
        _check_layers(self)
        _check_fields(self)
        _check_windows(self)
        _check_widths(self)
        if min(min(sizes) for sizes in self.spatial_sizes().values()) < 1:
            _refuse("image_size", f"{self.image_size} pixels are too few for the layers")

    @property
    def layers(self) -> dict[str, ConvSpec | DenseSpec]:
        """All layers by name, from the first to the last."""
        return {**self.convs, **self.dense}

    @property
    def layer_names(self) -> list[str]:
        return list(self.layers)

    @property
    def head(self) -> str:
        """The last layer, whose units are the classes."""
        return list(self.dense)[-1]

    @property
    def test_scale(self) -> float:
        """The factor of the outputs of hidden dense layers where dropout zeroes none of them."""
        return 1 - self.dropout if self.dropout_scaling == "test" else 1.0

    def spatial_sizes(self) -> dict[str, tuple[int, int]]:
        """For each convolutional layer, height (= width) of its maps before and after pooling."""
        sizes = {}
        size = self.image_size
        for name, spec in self.convs.items():
            size = convolved = (size + sum(spec.padding) - spec.size) // spec.stride + 1
            for pool in (self.pools[name] for name in spec.followed_by if name in self.pools):
                size = math.ceil((size - pool.window) / pool.stride) + 1
            sizes[name] = (convolved, size)
        return sizes

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "Architecture":
        """The inverse of `dataclasses.asdict`; also of a configuration, which sorts the layers."""
        specs = {
            field: {n: spec(**section[field][n]) for n in sorted(section[field], key=_layer_number)}
            for field, spec in SPECS.items()
        }
        return cls(**{**section, **specs})


SPECS = {"convs": ConvSpec, "dense": DenseSpec, "norms": NormSpec, "pools": PoolSpec}
# The rules of fields that mean the same in every spec.
CHOICES = {
    "activation": ("relu", "tanh"),
    "init": ("gaussian", "he", "pytorch"),
    "dropout_scaling": ("test", "training"),
    "across": ("maps", "spatial", "towers"),
    "kind": ("max", "average"),
}
# The smallest and the largest positive numbers of the arrays' type, and the largest size.
TINY, HUGE, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max), 10**6
RANGES = {
    **dict.fromkeys(("input_scale", "k"), (TINY, HUGE)),  # of k = 0, 0^-beta is infinite
    **dict.fromkeys(("sigma", "alpha", "beta"), (0, HUGE)),
    **dict.fromkeys(("towers", "maps", "size", "stride"), (1, LARGEST)),
    "units": (0, LARGEST),
    "bias": (-HUGE, HUGE),
    "dropout": (0, 0.999999),
}


def _layer_number(name: str) -> int:
    """The number in a layer's name, such as 10 in conv10; 0 where there is none."""
    return int("".join(filter(str.isdecimal, name)) or 0)


def _refuse(field: str, problem: str) -> None:
    raise UserError(f"config.model.{field}: {problem}")


def _check_layers(net: Architecture) -> None:
    for field, names in [("convs", net.convs), ("dense", net.dense)]:
        if list(names) != sorted(names, key=_layer_number):
            _refuse(field, f"{', '.join(names)} are not in the order of their numbers")
    _, *later = net.layers
    for name in net.exchange_before:
        check_choice("config.model.exchange_before", name, later)
    operations = ("activation", *net.pools, *net.norms)
    for name, spec in net.convs.items():
        for operation in spec.followed_by:
            check_choice(f"config.model.convs.{name}.followed_by", operation, operations)


def _check_fields(net: Architecture) -> None:
    specs: dict[str, Any] = {"": net}
    for part in SPECS:
        specs |= {f"{part}.{name}.": spec for name, spec in getattr(net, part).items()}
    for prefix, spec in specs.items():
        for field, value in vars(spec).items():
            if field in CHOICES:
                check_choice(f"config.model.{prefix}{field}", value, CHOICES[field])
            elif field in RANGES:
                check_range(f"config.model.{prefix}{field}", value, *RANGES[field])


def _check_windows(net: Architecture) -> None:
    for name, conv in net.convs.items():
        if [type(side) for side in conv.padding] != [int, int] or min(conv.padding) < 0:
            problem = f"{conv.padding} is not two numbers of pixels, such as (2, 2)"
            _refuse(f"convs.{name}.padding", problem)
    for name, norm in net.norms.items():
        if norm.n < 1 or norm.n % 2 == 0:
            _refuse(f"norms.{name}.n", f"a window of {norm.n} has no middle; take 5, say")
    for name, pool in net.pools.items():
        if pool.window < pool.stride:
            problem = f"windows of {pool.window} skip positions with a stride of {pool.stride}"
            _refuse(f"pools.{name}", problem)


def _check_widths(net: Architecture) -> None:
    widths = {name: spec.maps for name, spec in net.convs.items()}
    widths |= {name: spec.units for name, spec in net.dense.items()}
    if units := widths.pop(net.head):
        problem = f"{units}; the last layer has one unit for each class; leave it at 0"
        _refuse(f"dense.{net.head}.units", problem)
    for name, width in widths.items():
        if width < 1:  # only units can be: the maps are checked in `_check_fields`
            _refuse(f"dense.{name}.units", f"{width} is not positive")
        if width % net.towers:
            _refuse("towers", f"{net.towers} towers cannot share the {width} maps of {name} evenly")
