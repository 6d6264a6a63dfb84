"""The results of an experiment as a table, in Markdown and for a terminal."""

import statistics
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..cli.text import table
from ..figures.findings import SMOKE, compare, finished_runs, title


class Unit(NamedTuple):
    """How measured values are shown."""

    scale: int
    digits: int
    suffix: str
    difference_suffix: str

    def signed(self, value: float) -> str:
        return f"{self.scale * value:+.{self.digits}f}".replace("-", "−")


PERCENT = Unit(100, 2, "%", " points")
EPOCHS = Unit(1, 1, " epochs", " epochs")


def describe_results(results: Mapping[str, Any]) -> str:
    """A table with a row per variant and per average of networks, and notes below it.

    Means are over the runs that have not diverged. A difference is to the variant's reference, or
    to the published value if there is no reference. Its 95% confidence interval (CI) is that of
    Welch's t-test, which needs several seeds of both.
    """
    rows = [row for name in results["variants"] for row in _rows(results, name)]
    cells = [[row.get(column, "") for column in rows[0]] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in ([*rows[0]], ["---"] * len(rows[0]), *cells)]
    return "\n".join([*lines, "", *(f"- {note}." for note in _notes(results)), ""])


def format_results(results: Mapping[str, Any], width: int = 80) -> str:
    """For a terminal: the finding, as many columns of the table as fit, and the notes."""
    rows = [row for name in results["variants"] for row in _rows(results, name)]
    headings = {  # the most important first
        "variant": "variant",
        _measured(results): (
            "epochs" if results["target_training_error"] else f"{results['split']} error"
        ),
        "difference (95% CI)": "difference (95% CI)",
        "reference": "from",
        "published": "published",
        "training error, last epoch": "in training",
        "time of a run": "time",
    }
    columns: list[list[str]] = []
    for name, heading in headings.items():
        cells = [row.get(name, "").replace(", not significant", "") for row in rows]
        tried = [*columns, [heading, *cells]]
        if any(cells) and max(map(len, table(_transposed(tried)))) <= width:
            columns = tried
    notes = [textwrap.fill(f"{note}.", width - 2) for note in _notes(results) if note != SMOKE]
    return "\n".join([title(results), "", *table(_transposed(columns)), "", *notes])


def _transposed(columns: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(row) for row in zip(*columns, strict=True)]


def _notes(results: Mapping[str, Any]) -> list[str]:
    variants = results["variants"]
    runs = [run for variant in variants.values() for run in variant["runs"].values()]
    seeds = len(runs) // len(variants)
    days = sorted({run["machine"]["date"][:10] for run in runs if run.get("machine")})
    facts = [f"Data set {results['dataset']}", f"{seeds} seeds" if seeds > 1 else "one seed"]
    facts += [" to ".join(dict.fromkeys([days[0], days[-1]]))] if days else []
    notes = [f"Hypothesis: {results['hypothesis']}", ", ".join(facts)]
    if results.get("smoke"):
        return [SMOKE, *notes]
    for name, variant in variants.items():
        rate = variant["recipe"]["schedule.learning_rate"]
        rates = sorted(map(float, variant["lr_search_results"]))
        for edge, size, other in [(0, "smallest", "smaller"), (-1, "largest", "larger")]:
            if len(rates) > 1 and rate == rates[edge]:
                best = f"The best learning rate of {name}, {rate:g}, is the {size} tried"
                notes.append(f"{best}: a {other} one may be better")
    return notes


def _rows(results: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    variant, split = results["variants"][name], results["split"]
    unit, error = EPOCHS if results["target_training_error"] else PERCENT, _measured(results)
    published = variant["published"]
    runs, finished = list(variant["runs"].values()), finished_runs(variant)
    means = {
        key: statistics.mean(run[key] for run in finished)
        for key in ("top1_error", "training_error", "seconds")
        if finished
    }
    reference, difference = _difference(results, name, unit)
    row = {
        "variant": name,
        "published": "" if published is None else f"{unit.scale * published:.4g}{unit.suffix}",
        error: _measurements(variant, unit),
        "reference": reference,
        "difference (95% CI)": difference,
        "training error, last epoch": f"{means['training_error']:.2%}" if finished else "",
        f"views on {split}": str(runs[0]["views"]),
        "learning rate": f"{variant['recipe']['schedule.learning_rate']:g}",
        "seeds": str(len(runs)),
        "epochs": f"{max(run['epochs'] for run in runs):.4g}",
        "time of a run": f"{means['seconds'] / 60:.1f} min" if finished else "",
    }
    if variant["average"] is None:
        return [row]
    average = {
        "variant": f"average of {len(finished)} networks",
        error: f"{variant['average']:.2%}",
        "reference": "one network",
        "difference (95% CI)": _compare([variant["average"]], [means["top1_error"]], PERCENT),
    }
    return [row, average]


def _measured(results: Mapping[str, Any]) -> str:
    """The column of what the experiment measures."""
    target = results["target_training_error"]
    if target:
        return f"until a training error of {target:.0%} over an epoch"
    return f"error on {results['split']}"


def _measurements(variant: Mapping[str, Any], unit: Unit) -> str:
    """Mean ± standard deviation over the seeds, and how many have diverged or missed the target."""
    runs = variant["runs"].values()
    values = [unit.scale * run["measured"] for run in runs if run["measured"] is not None]
    spread = f" ± {statistics.stdev(values):.{unit.digits}f}" if len(values) > 1 else ""
    parts = [f"{statistics.mean(values):.{unit.digits}f}{spread}{unit.suffix}"] if values else []
    missed = f"not within {variant['recipe']['duration']}"
    failed = [run for run in runs if run["measured"] is None]
    failures = Counter("diverged" if "diverged" in run else missed for run in failed)
    for failure, count in failures.items():
        parts.append(f"{failure} with {count} of {len(runs)} seeds" if values else failure)
    return ", ".join(parts)


def _difference(results: Mapping[str, Any], name: str, unit: Unit) -> tuple[str, str]:
    """What a variant is compared with, and the difference; both empty if there is none."""
    variants, reference = results["variants"], results["reference"].get(name)
    published = variants[name]["published"]
    values = [run["measured"] for run in variants[name]["runs"].values()]
    if reference in variants:
        others = [run["measured"] for run in variants[reference]["runs"].values()]
    elif published is not None:
        reference, others = "published", [published]
    else:
        return "", ""
    return reference, "" if None in values + others else _compare(values, others, unit)


def _compare(values: Sequence[float], others: Sequence[float], unit: Unit) -> str:
    found = compare(values, others)
    ratio = f"{found.ratio:.1f} times, " if unit is EPOCHS else ""
    difference = f"{ratio}{unit.signed(found.difference)}{unit.difference_suffix}"
    if found.interval is None:
        return difference
    low, high = map(unit.signed, found.interval)
    verdict = "" if found.significant else ", not significant"
    return f"{difference} ({low} to {high}{verdict})"
