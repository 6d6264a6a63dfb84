"""The learning rate at each step."""

import dataclasses
import math
from fractions import Fraction
from typing import Any

from ml_collections import ConfigDict

from ..errors import check_choice
from .periods import Periods, parse_duration


@dataclasses.dataclass
class Schedule:
    """A constant learning rate; the base of those that depend on the step or on errors."""

    base: float  # the learning rate of the first step

    def __call__(self, step: int) -> float:  # noqa: ARG002
        """The learning rate of the step that follows `step` steps."""
        return self.base

    def observe(self, error: float) -> None:
        """Takes a validation error into account."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON; `restore` takes it back."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state."""


@dataclasses.dataclass
class Steps(Schedule):
    """The learning rate divided by `factor` at each boundary, a number of steps."""

    factor: float
    boundaries: list[Fraction]

    def __call__(self, step: int) -> float:
        return self.base / self.factor ** sum(step >= boundary for boundary in self.boundaries)


@dataclasses.dataclass
class Cosine(Schedule):
    """Half a cosine from the base to zero over the whole run."""

    total_steps: int

    def __call__(self, step: int) -> float:
        return self.base * (1 + math.cos(math.pi * step / self.total_steps)) / 2


@dataclasses.dataclass
class Plateau(Schedule):
    """The paper's section 5: divided when the validation error stops improving.

    The learning rate is divided by `factor` (10) after `patience` validations in a row without a
    new best, at most `max_drops` (3) times.
    """

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


def make_schedule(section: ConfigDict, periods: Periods) -> Schedule:
    """The schedule that `config.schedule` describes.

    Raises:
      UserError: there is no such schedule, or a boundary is not a duration.
    """
    base, factor = section.learning_rate, section.factor
    boundaries = [
        parse_duration("config.schedule.boundaries", boundary, periods.steps_per_epoch)
        for boundary in section.boundaries
    ]
    schedules = {
        "constant": Schedule(base),
        "steps": Steps(base, factor, boundaries),
        "cosine": Cosine(base, periods.total),
        "plateau": Plateau(base, factor, section.patience, section.max_drops),
    }
    check_choice("config.schedule.name", section.name, schedules)
    return schedules[section.name]
