"""What the results of an experiment show, in a sentence for its figure."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

Results = Mapping[str, Any]
"""The contents of an experiment's results.json, or one of its variants."""

SMOKE = "Smoke test: too short to test the hypothesis"


class Comparison(NamedTuple):
    """How the mean of some values differs from that of others."""

    difference: float
    ratio: float
    interval: tuple[float, float] | None  # 95%, by Welch's t-test, which needs several of both

    @property
    def significant(self) -> bool:
        return self.interval is None or not self.interval[0] <= 0 <= self.interval[1]


def compare(values: Sequence[float], others: Sequence[float]) -> Comparison:
    mean, reference = statistics.mean(values), statistics.mean(others)
    interval = None
    if 1 not in (len(values), len(others)):
        with warnings.catch_warnings():  # about equal values, whose interval is still right
            warnings.simplefilter("ignore", RuntimeWarning)
            low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
        interval = (float(low), float(high))
    return Comparison(mean - reference, mean / reference if reference else float("inf"), interval)


def finished_runs(variant: Results) -> list[Results]:
    """The runs that have not diverged."""
    return [run for run in variant["runs"].values() if "diverged" not in run]


def measured(variant: Results) -> float | None:
    """The mean over the runs; None if one has diverged or missed the target."""
    values = [run["measured"] for run in variant["runs"].values()]
    return None if None in values else statistics.mean(values)


def failed_seeds(variant: Results) -> str:
    """How many seeds have diverged or missed the target; empty if all have."""
    runs = variant["runs"].values()
    failed = sum(run["measured"] is None for run in runs)
    return f" with {failed} of {len(runs)} seeds" if failed < len(runs) else ""


def percent(error: float) -> str:
    return f"{error:.1%}" if error >= 0.0005 else f"{error:.2%}"


def title(results: Results) -> str:
    """The finding, in a sentence."""
    if results.get("smoke"):
        return SMOKE
    variants, split = results["variants"], results["split"]
    names, means = list(variants), {name: measured(v) for name, v in variants.items()}
    for index, name in enumerate(names):
        if (reference := results["reference"].get(name)) in names[:index]:
            if None in (means[name], means[reference]):
                return "; ".join(_measurement(results, key) for key in (reference, name))
            return _difference(results, name, reference)
    average, one = variants[names[0]]["average"], means[names[0]]
    if average is not None and one is not None:
        networks = f"The average of {len(variants[names[0]]['runs'])} networks"
        return f"{networks} has {percent(average)} {split} error, one has {percent(one)}"
    published = {name: variant["published"] for name, variant in variants.items()}
    if len(names) > 1 and None not in (*means.values(), *published.values()):
        gap = 100 * max(abs(means[name] - published[name]) for name in names)
        return (
            f"All {len(names)} networks end within {gap:.1f} points of the published {split} error"
        )
    return "; ".join(_measurement(results, name) for name in names)


def _difference(results: Results, name: str, reference: str) -> str:
    values, others = (
        [run["measured"] for run in results["variants"][key]["runs"].values()]
        for key in (name, reference)
    )
    found = compare(values, others)
    doubt = "" if found.significant else " (not significant)"
    if target := results["target_training_error"]:
        fast, slow = (reference, name) if found.ratio >= 1 else (name, reference)
        times = f"{max(found.ratio, 1 / found.ratio):.1f} times fewer epochs"
        return f"{fast} reaches {target:.0%} training error in {times} than {slow}{doubt}"
    points = (
        f"{abs(100 * found.difference):.1f} points {'more' if found.difference > 0 else 'less'}"
    )
    return f"{_measurement(results, name)}, {points} than {reference}{doubt}"


def _measurement(results: Results, name: str) -> str:
    variant, target = results["variants"][name], results["target_training_error"]
    mean = measured(variant)
    if not target:
        return (
            f"{name}: {percent(mean)} {results['split']} error"
            if mean is not None
            else f"{name} diverges{failed_seeds(variant)}"
        )
    if mean is not None:
        return f"{name} reaches {target:.0%} training error after {mean:.1f} epochs"
    epochs = max(run["epochs"] for run in variant["runs"].values())
    missed = f"{name} does not reach {target:.0%} training error in {epochs:.3g} epochs"
    return missed + failed_seeds(variant)
