"""The results of an experiment as a table, in Markdown."""

import math
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats


class _Unit(NamedTuple):
    scale: int
    digits: int
    suffix: str
    of_differences: str

    def signed(self, value: float) -> str:
        return f"{self.scale * value:+.{self.digits}f}".replace("-", "−")


PERCENT = _Unit(100, 2, "%", " points")
EPOCHS = _Unit(1, 1, " epochs", " epochs")


def report(results: Mapping[str, Any]) -> str:
    """The table, and below it in a list what a table cannot say."""
    variants = results["variants"]
    seeds = sorted({len(variant["runs"]) for variant in variants.values()})
    circumstances = [
        f"Data set {results['dataset']}",
        "one seed" if seeds == [1] else f"{_span(seeds)} seeds",
        _span(sorted(_days(variants))),
    ]
    lines = [f"Hypothesis: {results['hypothesis']}", ", ".join(filter(None, circumstances))]
    lines += [line for name, variant in variants.items() for line in _search_edges(name, variant)]
    return f"{results_table(results)}\n{''.join(f'- {line}.{chr(10)}' for line in lines)}"


def results_table(results: Mapping[str, Any]) -> str:
    """A row per variant, and one per average of a variant's networks.

    Means are over the runs that have not diverged. A difference is to the variant's reference, else
    to the published error. Its 95% interval is that of Welch's t-test, which needs several seeds.
    """
    split, target = results["split"], results["target_training_error"]
    error = (
        f"until a training error of {target:.0%} over an epoch" if target else f"error on {split}"
    )
    columns = ["variant", "published", error, "reference", "difference (95% interval)"]
    columns += ["training error, last epoch", f"views on {split}", "learning rate", "seeds"]
    columns += ["epochs", "time of a run"]
    rows = [columns, ["---"] * len(columns)]
    unit = EPOCHS if target else PERCENT
    for name, variant in results["variants"].items():
        runs, published = list(variant["runs"].values()), variant["published"]
        rows.append(
            [
                name,
                "" if published is None else f"{unit.scale * published:.4g}{unit.suffix}",
                _measurements(variant, unit),
                *_difference(results, name, unit),
                _cell(_mean(variant, "training_error"), ".2%"),
                str(runs[0]["views"]),
                f"{variant['recipe']['schedule.learning_rate']:g}",
                str(len(runs)),
                f"{max(run['epochs'] for run in runs):.4g}",
                _cell(_mean(variant, "seconds") / 60, ".1f", " min"),
            ]
        )
        if variant["average"] is not None:
            difference = PERCENT.signed(variant["average"] - _mean(variant, "top1_error"))
            row = [
                f"average of {count_finished(variant)} networks",
                "",
                f"{variant['average']:.2%}",
            ]
            row += ["one network", f"{difference} points"]
            rows.append(row + [""] * (len(columns) - len(row)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def count_finished(variant: Mapping[str, Any]) -> int:
    """The number of runs that have not diverged."""
    return sum("diverged" not in run for run in variant["runs"].values())


def _cell(value: float, form: str, suffix: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{form}}{suffix}"


def _mean(variant: Mapping[str, Any], value: str) -> float:
    """The mean over the runs that have not diverged; not a number where there are none."""
    values = [run[value] for run in variant["runs"].values() if "diverged" not in run]
    return statistics.mean(values) if values else math.nan


def _measured(variant: Mapping[str, Any]) -> list[float]:
    """A value per run; infinite where the run has diverged or missed its target."""
    values = [run["measured"] for run in variant["runs"].values()]
    return [math.inf if value is None else value for value in values]


def _measurements(variant: Mapping[str, Any], unit: _Unit) -> str:
    """Mean ± standard deviation over the seeds, and how many have diverged or missed the target."""
    measured = _measured(variant)
    values = [unit.scale * value for value in measured if value != math.inf]
    spread = f" ± {statistics.stdev(values):.{unit.digits}f}" if len(values) > 1 else ""
    mean = f"{statistics.mean(values):.{unit.digits}f}{spread}{unit.suffix}" if values else ""
    diverged = len(measured) - count_finished(variant)
    counts = {
        mean: len(values),
        "diverged": diverged,
        f"not within {variant['recipe']['duration']}": len(measured) - len(values) - diverged,
    }
    outcomes = [outcome for outcome, count in counts.items() if count]
    if len(outcomes) == 1:
        return outcomes[0]
    return ", ".join(f"{o} with {counts[o]} of {len(measured)} seeds" for o in outcomes)


def _difference(results: Mapping[str, Any], name: str, unit: _Unit) -> tuple[str, str]:
    """What a variant is compared with, and the difference; both empty where there is nothing."""
    variants = results["variants"]
    values, published = _measured(variants[name]), variants[name]["published"]
    reference = results["reference"].get(name)
    if reference in variants:
        others = _measured(variants[reference])
        return reference, "" if math.inf in values + others else _compare(values, others, unit)
    if published is None or unit is EPOCHS or math.inf in values:
        return "", ""
    return "published", f"{unit.signed(statistics.mean(values) - published)}{unit.of_differences}"


def _compare(values: Sequence[float], others: Sequence[float], unit: _Unit) -> str:
    mean, reference = statistics.mean(values), statistics.mean(others)
    difference = f"{unit.signed(mean - reference)}{unit.of_differences}"
    ratio = f"{mean / reference:.1f} times, " if unit is EPOCHS else ""
    if 1 in (len(values), len(others)):
        return ratio + difference
    with warnings.catch_warnings():  # about equal values; their interval is right all the same
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    verdict = "; not significant" if low <= 0 <= high else ""
    return f"{ratio}{difference} ({unit.signed(low)} to {unit.signed(high)}{verdict})"


def _search_edges(name: str, variant: Mapping[str, Any]) -> Iterator[str]:
    rate = variant["recipe"]["schedule.learning_rate"]
    tried = [float(candidate) for candidate in variant["lr_search_results"]]
    for extreme, which, beyond in [(min, "smallest", "smaller"), (max, "largest", "larger")]:
        if tried and rate == extreme(tried):
            yield (
                f"The best learning rate of {name}, {rate:g}, is the {which} tried: "
                f"a {beyond} one may be better"
            )


def _days(variants: Mapping[str, Any]) -> Iterator[str]:
    """The day on which each run ended, where its result has it."""
    for variant in variants.values():
        for run in variant["runs"].values():
            if run["machine"]:
                yield run["machine"]["date"][:10]


def _span(values: Sequence[Any]) -> str:
    """The first and the last of sorted values; once if they are equal, empty if there are none."""
    return " to ".join(dict.fromkeys(map(str, [*values[:1], *values[-1:]])))
