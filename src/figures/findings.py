"""What the results of an experiment show, in a sentence for its figure."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

Results = Mapping[str, Any]
"""The contents of an experiment's results.json."""

SMOKE = "Smoke test: too short to test the claim"


class Comparison(NamedTuple):
    """How the mean of some values differs from that of others."""

    difference: float
    ratio: float
    interval: tuple[float, float] | None  # 95%, by Welch's t-test; it needs several of both

    @property
    def significant(self) -> bool:
        return self.interval is None or not self.interval[0] <= 0 <= self.interval[1]


def compare(values: Sequence[float], others: Sequence[float]) -> Comparison:
    mean, reference = statistics.mean(values), statistics.mean(others)
    interval = None
    if min(len(values), len(others)) > 1:
        with warnings.catch_warnings():  # about equal values, whose interval is still right
            warnings.simplefilter("ignore", RuntimeWarning)
            low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
            interval = (float(low), float(high))
    return Comparison(mean - reference, mean / reference if reference else float("inf"), interval)


def finished_runs(variant: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs that have not diverged."""
    return [run for run in variant["runs"].values() if "diverged" not in run]


def measured(variant: Mapping[str, Any]) -> list[float]:
    """What was measured of each run; empty unless it was of all."""
    values = [run["measured"] for run in variant["runs"].values()]
    return [] if None in values else values


def percent(error: float) -> str:
    return f"{error:.1%}" if error >= 0.0005 else f"{error:.2%}"


def title(results: Results) -> str:
    """The finding, in a sentence."""
    if results.get("smoke"):
        return SMOKE
    variants, split = results["variants"], results["split"]
    names = list(variants)
    for index, name in enumerate(names):
        reference = results["reference"].get(name)
        if reference in names[:index]:
            return _difference(results, name, reference)
    first = variants[names[0]]
    if first["average"] is not None and measured(first):
        one, count = percent(statistics.mean(measured(first))), len(first["runs"])
        average = percent(first["average"])
        return f"The average of {count} networks has {average} {split} error, one has {one}"
    if results["target_training_error"]:
        return "; ".join(_reached(results, name) for name in names)
    gaps = [
        abs(statistics.mean(measured(variant)) - variant["published"])
        for variant in variants.values()
        if measured(variant) and variant["published"] is not None
    ]
    if len(gaps) == len(names) > 1:
        points = f"{100 * max(gaps):.1f} points"
        return f"All {len(names)} networks end within {points} of the published {split} error"
    return "; ".join(_ended(results, name) for name in names)


def _difference(results: Results, name: str, reference: str) -> str:
    values, others = (measured(results["variants"][key]) for key in (name, reference))
    if not values or not others:
        describe = _reached if results["target_training_error"] else _ended
        return "; ".join(describe(results, key) for key in (reference, name))
    found = compare(values, others)
    doubt = "" if found.significant else " (not significant)"
    if target := results["target_training_error"]:
        fast, slow = (reference, name) if found.ratio >= 1 else (name, reference)
        times = max(found.ratio, 1 / found.ratio)
        sentence = f"{fast} reaches {target:.0%} training error in {times:.1f} times fewer epochs"
        return f"{sentence} than {slow}{doubt}"
    points = (
        f"{abs(100 * found.difference):.1f} points {'less' if found.difference < 0 else 'more'}"
    )
    return f"{_ended(results, name)}, {points} than {reference}{doubt}"


def _reached(results: Results, name: str) -> str:
    target, variant = results["target_training_error"], results["variants"][name]
    if values := measured(variant):
        return (
            f"{name} reaches {target:.0%} training error after {statistics.mean(values):.1f} epochs"
        )
    epochs = max(run["epochs"] for run in variant["runs"].values())
    return f"{name} does not reach {target:.0%} training error in {epochs:.0f} epochs"


def _ended(results: Results, name: str) -> str:
    values = measured(results["variants"][name])
    if not values:
        return f"{name} diverges"
    return f"{name}: {percent(statistics.mean(values))} {results['split']} error"
