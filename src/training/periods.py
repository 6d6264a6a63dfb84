"""Durations in epochs or steps, and when something is due."""

import re
from fractions import Fraction

from ..errors import UserError


def parse_duration(field: str, duration: str, steps_per_epoch: Fraction) -> Fraction:
    """A duration such as "90 epochs", "0.5 epochs" or "1000 steps", in steps.

    Raises:
      UserError: it is not of this form, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(epoch|step)s?\s*", duration)
    if not match or not Fraction(match[1]):
        raise UserError(
            f"{field}: {duration!r} is no duration; write it like '90 epochs' or '1000 steps'"
        )
    return Fraction(match[1]) * (steps_per_epoch if match[2] == "epoch" else 1)


def is_due(step: int, every: Fraction) -> bool:
    """Whether a multiple of `every`, rounded up to a whole step, is this step."""
    return step > 0 and step // every > (step - 1) // every
