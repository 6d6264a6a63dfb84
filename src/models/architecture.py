"""What tells one AlexNet from another: layers, sizes, connections, as plain data."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ..errors import UserError


def layer_number(name: str) -> int:
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
    followed_by: tuple[str, ...] = ("activation",)  # "activation", or names in `pools` and `norms`
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
    across: str = (
        "maps"  # of the tower; or "spatial": n × n places of one map; or "towers": the maps of all
    )
    enabled: bool = True


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
            if list(names) != sorted(names, key=layer_number):
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
                (f"convs.{name}.followed_by", operation, ("activation", *self.pools, *self.norms))
                for name, spec in self.convs.items()
                for operation in spec.followed_by
            ),
            *(
                (f"norms.{name}.across", norm.across, ("maps", "spatial", "towers"))
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
        if min(min(sides) for sides in self.spatial_sizes().values()) < 1:
            raise UserError(
                f"config.model.image_size: {self.image_size} pixels are too few for the layers"
            )

    def spatial_sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of each convolutional layer's maps: convolved, and handed on."""
        sides = {}
        side = self.image_size
        for name, spec in self.convs.items():
            side = convolved = (side + sum(spec.padding) - spec.size) // spec.stride + 1
            for pool in (self.pools[name] for name in spec.followed_by if name in self.pools):
                side = math.ceil((side - pool.window) / pool.stride) + 1
            sides[name] = (convolved, side)
        return sides

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Architecture":
        """The inverse of `dataclasses.asdict`."""
        nested = {"convs": ConvSpec, "dense": DenseSpec, "norms": NormSpec, "pools": PoolSpec}
        built = {  # ConfigDict has sorted the names, as text
            field: {
                name: spec(**fields[field][name])
                for name in sorted(fields[field], key=layer_number)
            }
            for field, spec in nested.items()
        }
        return cls(**{**fields, **built})
