"""How long things last, and the learning rate at each step."""

import dataclasses
import math
from fractions import Fraction
from typing import Any, Protocol

from ml_collections import ConfigDict

from ..errors import UserError
from .periods import parse_duration


class Schedule(Protocol):
    """The learning rate, which may depend on how the validation error went."""

    def __call__(self, step: int) -> float:
        """The rate of the step that follows `step` steps."""

    def observe(self, error: float) -> None:
        """Takes in a validation error."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON; `restore` takes it back."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken."""


class _Stateless:
    def observe(self, error: float) -> None:
        """Its rate does not depend on errors."""

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Has no state."""


@dataclasses.dataclass
class Constant(_Stateless):
    """One rate throughout."""

    base: float

    def __call__(self, step: int) -> float:  # noqa: ARG002
        return self.base


@dataclasses.dataclass
class Steps(_Stateless):
    """The rate divided by `factor` at each boundary, a number of steps."""

    base: float
    factor: float
    boundaries: list[Fraction]

    def __call__(self, step: int) -> float:
        return self.base / self.factor ** sum(step >= boundary for boundary in self.boundaries)


@dataclasses.dataclass
class Cosine(_Stateless):
    """Half a cosine from the rate to zero over the whole run."""

    base: float
    total_steps: int

    def __call__(self, step: int) -> float:
        return self.base * (1 + math.cos(math.pi * step / self.total_steps)) / 2


@dataclasses.dataclass
class Plateau:
    """The paper's section 5: the rate divided when the validation error stops improving.

    It is divided by `factor` (10) after `patience` validations in a row without a new best, at
    most `max_drops` (3) times.
    """

    base: float
    factor: float
    patience: int
    max_drops: int
    best: float = math.inf
    stale: int = 0
    dropped: int = 0

    def __call__(self, step: int) -> float:  # noqa: ARG002
        return self.base / self.factor**self.dropped

    def observe(self, error: float) -> None:
        self.stale = 0 if error < self.best else self.stale + 1
        self.best = min(self.best, error)
        if self.stale >= self.patience and self.dropped < self.max_drops:
            self.dropped += 1
            self.stale = 0

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "stale": self.stale, "dropped": self.dropped}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.stale, self.dropped = state["best"], state["stale"], state["dropped"]


def make_schedule(config: ConfigDict, total_steps: int, steps_per_epoch: Fraction) -> Schedule:
    """The schedule that `config.schedule` describes.

    Raises:
      UserError: no such schedule, or a boundary that is no duration.
    """
    fields = config.schedule
    boundaries = [
        parse_duration("config.schedule.boundaries", boundary, steps_per_epoch)
        for boundary in fields.boundaries
    ]
    schedules: dict[str, Schedule] = {
        "constant": Constant(fields.learning_rate),
        "steps": Steps(fields.learning_rate, fields.factor, boundaries),
        "cosine": Cosine(fields.learning_rate, total_steps),
        "plateau": Plateau(fields.learning_rate, fields.factor, fields.patience, fields.max_drops),
    }
    if fields.name not in schedules:
        raise UserError(f"config.schedule.name: {fields.name!r} is none of {', '.join(schedules)}")
    return schedules[fields.name]
