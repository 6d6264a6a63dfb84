"""What an experiment's results say."""

import math
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy import stats

ONE_POINT = 0.01


def _measured(variant: Mapping[str, Any]) -> list[float]:
    """What was measured of each run; infinite where it diverged, or did not reach the error."""
    values = [run["measured"] for run in variant["runs"].values()]
    return [math.inf if value is None else value for value in values]


def _unit(found: Mapping[str, Any]) -> tuple[float, int, str, str]:
    """Of what was measured: its factor, its digits, its unit, and that of differences."""
    return (
        (1, 1, " epochs", "epochs") if found["target_training_error"] else (100, 2, "%", "points")
    )


def _show(found: Mapping[str, Any], variant: Mapping[str, Any]) -> str:
    """Mean ± standard deviation over the seeds, and how many have come to nothing."""
    measured = _measured(variant)
    values = [value for value in measured if value != math.inf]
    scale, digits, unit, _ = _unit(found)
    spread = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    mean = f"{scale * statistics.mean(values):.{digits}f}{spread}{unit}" if values else ""
    diverged = len(measured) - _finished(variant)
    missed = f"not within {variant['recipe']['duration']}"
    counts = {mean: len(values), "diverged": diverged}
    counts |= {missed: len(measured) - len(values) - diverged}
    said = [what for what, count in counts.items() if count]
    if len(said) == 1:
        return said[0]
    return ", ".join(f"{what} with {counts[what]} of {len(measured)} seeds" for what in said)


def _published(found: Mapping[str, Any], variant: Mapping[str, Any]) -> str:
    scale, _, unit, _ = _unit(found)
    return "" if variant["published"] is None else f"{scale * variant['published']:.4g}{unit}"


def _mean(variant: Mapping[str, Any], value: str) -> float:
    """Of the runs that have not diverged; not a number where there are none."""
    values = [run[value] for run in variant["runs"].values() if "diverged" not in run]
    return statistics.mean(values) if values else math.nan


def results_table(found: Mapping[str, Any]) -> str:
    """A row a variant, in Markdown."""
    target = found["target_training_error"]
    what = f"until {_training(target)}" if target else f"error on {found['split']}"
    columns = ["variant", "published", what, "training error, last epoch"]
    columns += [f"views on {found['split']}", "rate", "seeds", "epochs", "time of a run"]
    rows = [columns, ["---"] * len(columns)]
    for name, variant in found["variants"].items():
        runs = list(variant["runs"].values())
        row = [name, _published(found, variant), _show(found, variant)]
        row += [_cell(_mean(variant, "training_error"), ".2%"), str(runs[0]["views"])]
        row += [
            f"{variant['recipe']['schedule.learning_rate']:g}",
            str(len(runs)),
            f"{max(run['epochs'] for run in runs):.4g}",
        ]
        rows.append([*row, _cell(_mean(variant, "seconds") / 60, ".1f", " min")])
        if variant["average"] is not None:
            row = [f"the average of {_finished(variant)}", "", f"{variant['average']:.2%}"]
            rows.append(row + [""] * (len(columns) - len(row)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(value: float, form: str, unit: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{form}}{unit}"


def _finished(variant: Mapping[str, Any]) -> int:
    return sum("diverged" not in run for run in variant["runs"].values())


def _training(error: float) -> str:
    return f"a training error of {error:.0%} over an epoch"


def sentences(found: Mapping[str, Any]) -> str:
    """The claim, and what was measured of it, whichever way it came out."""
    said = [f"Claimed: {found['claim']}.", "Measured:"]
    variants = found["variants"]
    references = {
        name: reference
        for name, reference in found["reference"].items()
        if {name, reference} <= variants.keys()
    }
    for name, variant in variants.items():
        if name in references:
            said.append(_against(found, name, references[name]))
        elif name not in references.values():
            said.append(_alone(found, name))
        if variant["average"] is not None:
            count, mean = _finished(variant), _mean(variant, "top1_error")
            said.append(
                f"the average of its {count} networks {variant['average']:.2%}, "
                f"{_points(variant['average'] - mean)} than one by itself;"
            )
    said += [edge for name, variant in variants.items() for edge in _edge(name, variant)]
    circumstances = (found["dataset"], _seeds(variants), _when(found))
    return f"{' '.join(said).rstrip(';')} ({', '.join(filter(None, circumstances))}).\n"


def _seeds(variants: Mapping[str, Any]) -> str:
    counts = sorted({len(variant["runs"]) for variant in variants.values()})
    if counts == [1]:
        return "one seed"
    return f"{' to '.join(map(str, dict.fromkeys([counts[0], counts[-1]])))} seeds"


def _points(difference: float) -> str:
    return f"{100 * abs(difference):.2f} points {'less' if difference < 0 else 'more'}"


def _alone(found: Mapping[str, Any], name: str) -> str:
    variant = found["variants"][name]
    shown, published = f"{name} {_show(found, variant)}", _published(found, variant)
    if not published:
        return f"{shown};"
    if found["target_training_error"] or math.inf in _measured(variant):
        return f"{shown} (published: {published});"
    difference = _mean(variant, "top1_error") - variant["published"]
    within = "within one point" if abs(difference) <= ONE_POINT else "not within one point"
    return f"{shown}, {_points(difference)} than the published {published}, {within};"


def _against(found: Mapping[str, Any], name: str, reference: str) -> str:
    variant, other = found["variants"][name], found["variants"][reference]
    values, others = _measured(variant), _measured(other)
    shown = f"{_show(found, variant)} against {_show(found, other)}"
    if math.inf in others or math.inf in values:
        return f"{name} against {reference}: {shown};"
    mean, mean_of_other = statistics.mean(values), statistics.mean(others)
    if found["target_training_error"]:
        compared = f"{name} takes {mean / mean_of_other:.1f} times as long as {reference}"
    else:
        compared = f"{name} has {_points(mean - mean_of_other)} than {reference}"
        in_training = [f"{_mean(one, 'training_error'):.2%}" for one in (variant, other)]
        shown += f" (in training {' against '.join(in_training)})"
    return f"{compared}, {shown}{_doubt(found, values, others)};"


def _doubt(found: Mapping[str, Any], values: Sequence[float], others: Sequence[float]) -> str:
    """The 95% interval of the difference by Welch's t-test; nothing of single seeds."""
    if 1 in (len(values), len(others)):
        return ""
    with warnings.catch_warnings():  # of equal values, of which the interval is right all the same
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    scale, digits, _, unit = _unit(found)
    interval = f"{scale * low:+.{digits}f} to {scale * high:+.{digits}f} {unit}"
    verdict = ", which these seeds don't tell from none" if low <= 0 <= high else ""
    return f", 95% interval of the difference {interval}{verdict}"


def _edge(name: str, variant: Mapping[str, Any]) -> Iterator[str]:
    rate, tried = (
        variant["recipe"]["schedule.learning_rate"],
        [float(rate) for rate in variant["tried"]],
    )
    for extreme, which, beyond in [(min, "smallest", "smaller"), (max, "largest", "larger")]:
        if tried and rate == extreme(tried):
            yield (
                f"the rate of {name}, {rate:g}, is the {which} of those tried: a {beyond} one may "
                "be better;"
            )


def _when(found: Mapping[str, Any]) -> str:
    """The days on which the first and the last of its runs ended; empty where runs don't tell."""
    runs = [run for variant in found["variants"].values() for run in variant["runs"].values()]
    days = sorted(run["machine"]["date"][:10] for run in runs if run["machine"])
    return " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))
