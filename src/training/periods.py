"""Durations in epochs or steps, and what is due at a step."""

import dataclasses
import math
import re
from fractions import Fraction
from typing import Any, Self

from ml_collections import ConfigDict

from ..errors import UserError

MOST_STEPS = 2**31 - 1  # that the state counts


def parse_duration(field: str, duration: Any, steps_per_epoch: Fraction) -> Fraction:
    """A duration such as "90 epochs", "0.5 epochs" or "1000 steps", in steps.

    Raises:
      UserError: it is not of this form, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(epoch|step)s?\s*", str(duration))
    if not match or not Fraction(match[1]):
        raise UserError(
            f"{field}: {duration!r} is not a duration; write it like '90 epochs' or '1000 steps'"
        )
    return Fraction(match[1]) * (steps_per_epoch if match[2] == "epoch" else 1)


def is_due(step: int, every: Fraction) -> bool:
    """Whether a multiple of `every`, rounded up to a whole step, is this step."""
    return step > 0 and step // every > (step - 1) // every


@dataclasses.dataclass(frozen=True)
class Periods:
    """When a run evaluates, saves, logs and ends."""

    steps_per_epoch: Fraction
    total: int  # steps of the whole run
    evaluate_every: Fraction  # steps, as the next
    checkpoint_every: Fraction
    log_every: int
    profile: int = 0  # steps that are traced

    @classmethod
    def from_config(cls, config: ConfigDict, num_examples: int) -> Self:
        """The periods of a recipe for a training split of `num_examples` images.

        Raises:
          UserError: one of them is invalid, or training would take more than MOST_STEPS steps.
        """
        steps_per_epoch = Fraction(num_examples, config.batch_size)

        def steps(field: str) -> Fraction:
            return parse_duration(f"config.{field}", config[field], steps_per_epoch)

        total = math.ceil(steps("duration"))
        if total > MOST_STEPS:
            message = f"{config.duration!r} has more than {MOST_STEPS:,} steps"
            raise UserError(f"config.duration: {message}")
        return cls(
            steps_per_epoch,
            total,
            steps("evaluate_every"),
            steps("checkpoint_every"),
            config.log_every,
            math.ceil(steps("profile")) if config.profile else 0,
        )

    def evaluates_at(self, step: int) -> bool:
        return step == self.total or is_due(step, self.evaluate_every)

    def saves_at(self, step: int) -> bool:
        return is_due(step, self.checkpoint_every)

    def logs_at(self, step: int) -> bool:
        return step == self.total or step % self.log_every == 0

    def epoch(self, step: int) -> float:
        return float(step / self.steps_per_epoch)
