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
    """A constant learning rate; the base of those that depend on the step or on errors.

    In the warm-up, the rate grows with each step by an equal part of what it is without warm-up.
    It depends on the step alone, so that a run may resume within it.
    """

    base: float  # the learning rate of the first step, without warm-up
    warmup: Fraction  # steps; 1: the first step has the full rate

    def __call__(self, step: int) -> float:
        """The learning rate of the step that follows `step` steps."""
        return self.full_rate(step) * float(min(Fraction(1), (step + 1) / self.warmup))

    def full_rate(self, step: int) -> float:  # noqa: ARG002
        """The learning rate without warm-up."""
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

    def full_rate(self, step: int) -> float:
        return self.base / self.factor ** sum(step >= boundary for boundary in self.boundaries)


@dataclasses.dataclass
class Cosine(Schedule):
    """Half a cosine from the base to zero over the whole run."""

    total_steps: int

    def full_rate(self, step: int) -> float:
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

    def full_rate(self, step: int) -> float:  # noqa: ARG002
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
      UserError: there is no such schedule, or a boundary or the warm-up is not a duration.
    """

    def steps(field: str, duration: str) -> Fraction:
        return parse_duration(f"config.schedule.{field}", duration, periods.steps_per_epoch)

    boundaries = [steps("boundaries", boundary) for boundary in section.boundaries]
    warmup = steps("warmup", section.warmup) if section.warmup else Fraction(1)
    common, factor = (section.learning_rate, warmup), section.factor
    schedules = {
        "constant": Schedule(*common),
        "steps": Steps(*common, factor, boundaries),
        "cosine": Cosine(*common, periods.total),
        "plateau": Plateau(*common, factor, section.patience, section.max_drops),
    }
    check_choice("config.schedule.name", section.name, schedules)
    return schedules[section.name]
