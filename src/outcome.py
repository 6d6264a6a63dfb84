"""What came out of an experiment: numbers over seeds, a table, sentences, a figure."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from src.metrics import read_lines
from src.workdir import read_result

ROUNDING = 1e-6  # of epochs


def lines(folder: Path, split: str) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl: of "train", or of "evaluation", whatever its split."""
    found = read_lines(folder)
    return [line for line in found if (line["split"] == "train") == (split == "train")]


def over_an_epoch(folder: Path, value: str) -> list[tuple[float, float]]:
    """Of each train line, its epoch, and the mean of a value over the epoch that ends there.

    A line is of a fraction of an epoch, and its mean a matter of luck. As many lines are taken as
    span an epoch; all, where they don't.
    """
    train = lines(folder, "train")
    values, weights = [line[value] for line in train], np.diff([0, *(i["step"] for i in train)])
    ends = np.array([line["epoch"] for line in train])
    starts = np.array([0, *ends[:-1]])
    firsts = np.searchsorted(starts, ends - 1 + ROUNDING, side="right") - 1
    return [
        (end, float(np.average(values[first : i + 1], weights=weights[first : i + 1])))
        for i, (end, first) in enumerate(zip(ends.tolist(), firsts.clip(0), strict=True))
    ]


def collect(
    config: ConfigDict,
    folders: Mapping[str, Sequence[Path]],
    tried: Mapping[str, Mapping[float, float]],
    averages: Mapping[str, float],
) -> dict[str, Any]:
    """All that is worth keeping of an experiment, as JSON.

    Args:
      config: see `configs.experiments.comparison`.
      folders: of each variant's finished runs, in the order of the seeds.
      tried: the training loss that each learning rate of the search came to, by variant; infinite
        where it diverged.
      averages: the top-1 error of the average of a variant's networks, by variant.
    """
    target = config.until_training_error
    variants = {}
    for name, runs in folders.items():
        of_runs = [_of_run(folder, target) for folder in runs]
        variants[name] = {
            "published": config.published.get(name, ""),
            "duration": config.variants[name].duration,
            "rate": best(tried[name]) if name in tried else config.variants[name].schedule.rate,
            "tried": {
                f"{rate:g}": loss if math.isfinite(loss) else None
                for rate, loss in tried.get(name, {}).items()
            },
            "runs": dict(zip(map(str, config.seeds), of_runs, strict=True)),
            "average": averages.get(name),
        }
    return {
        "claim": config.claim,
        "dataset": config.variants[config.order[0]].data.dataset,
        "reference": config.reference,
        "until_training_error": target,
        "variants": variants,
    }


def best(tried: Mapping[float, float]) -> float:
    """The learning rate whose training loss was the lowest in the end."""
    return min(tried, key=lambda rate: tried[rate])


def _of_run(folder: Path, target: float) -> dict[str, Any]:
    result = read_result(folder)
    assert result is not None  # of runs that are finished
    evaluations = [(line["epoch"], line["top1_error"]) for line in lines(folder, "evaluation")]
    train = over_an_epoch(folder, "top1_error")
    reached = [epoch for epoch, error in train if epoch > 1 - ROUNDING and error <= target]
    return {
        "measured": (reached[0] if reached else None) if target else result["top1_error"],
        "top1_error": result["top1_error"],
        "training_error": train[-1][1],
        "epochs": result["epochs"],
        "seconds": round(result["seconds"]),
        "machine": result.get("machine"),
        "curves": {
            split: [(round(epoch, 3), round(error, 4)) for epoch, error in curve]
            for split, curve in [("train", train), ("evaluation", evaluations)]
        },
    }


def _measured(variant: Mapping[str, Any]) -> list[float]:
    """What was measured of each run; infinite where the training error was not reached."""
    values = [run["measured"] for run in variant["runs"].values()]
    return [math.inf if value is None else value for value in values]


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 and math.inf not in values else math.nan


def _show(found: Mapping[str, Any], variant: Mapping[str, Any]) -> str:
    """Mean ± standard deviation over the seeds."""
    values = _measured(variant)
    in_epochs = bool(found["until_training_error"])
    if math.inf in values:
        return f"not within {variant['duration']}"
    scale, digits, unit = (1, 1, " epochs") if in_epochs else (100, 2, "%")
    deviation = _spread(values) * scale
    spread = "" if math.isnan(deviation) else f" ± {deviation:.{digits}f}"
    return f"{statistics.mean(values) * scale:.{digits}f}{spread}{unit}"


def table(found: Mapping[str, Any]) -> str:
    """A row a variant, in Markdown."""
    target = found["until_training_error"]
    what = f"until a training error of {target:.0%} over an epoch" if target else "test error"
    rows = [
        f"| variant | published | {what} | rate | seeds | epochs | time of a run |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, variant in found["variants"].items():
        runs = list(variant["runs"].values())
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        rows.append(
            f"| {name} | {variant['published']} | {_show(found, variant)} | {variant['rate']:g} "
            f"| {len(runs)} | {runs[0]['epochs']:.4g} | {minutes:.1f} min |"
        )
        if variant["average"] is not None:
            rows.append(f"| the average of {len(runs)} | | {variant['average']:.2%} | | | | |")
    return "\n".join(rows) + "\n"


def sentences(found: Mapping[str, Any]) -> str:
    """The claim, and what was measured of it, whichever way it came out."""
    said = [f"Claimed: {found['claim']}.", "Measured:"]
    variants, reference = found["variants"], found["reference"]
    for name, variant in variants.items():
        if reference and name != reference:
            said.append(_against(found, name, reference))
        elif not reference:
            published = f" (published: {variant['published']})" if variant["published"] else ""
            said.append(f"{name} {_show(found, variant)}{published};")
        if variant["average"] is not None:
            said.append(
                f"the average of its {len(variant['runs'])} networks {variant['average']:.2%};"
            )
        said.extend(_edge(name, variant))
    context = ", ".join(filter(None, [found["dataset"], _when(found)]))
    return f"{' '.join(said).rstrip(';')} ({context}).\n"


def _edge(name: str, variant: Mapping[str, Any]) -> Iterator[str]:
    rate, tried = variant["rate"], [float(rate) for rate in variant["tried"]]
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


def _against(found: Mapping[str, Any], name: str, reference: str) -> str:
    variant, other = found["variants"][name], found["variants"][reference]
    values, others = _measured(variant), _measured(other)
    shown = f"{_show(found, variant)} against {_show(found, other)}"
    if found["until_training_error"]:
        if math.inf in others or math.inf in values:
            return f"{name} against {reference}: {shown};"
        ratio = statistics.mean(values) / statistics.mean(others)
        return f"{name} takes {ratio:.1f} times as long as {reference}, {shown};"
    points = 100 * (statistics.mean(values) - statistics.mean(others))
    error = 100 * math.hypot(
        _spread(values) / math.sqrt(len(values)), _spread(others) / math.sqrt(len(others))
    )
    if math.isnan(error):
        doubt = ", one seed"
    elif abs(points) < 2 * error:
        doubt = f", which {len(values)} seeds don't tell from none"
    else:
        doubt = ""
    direction = "less" if points < 0 else "more"
    return f"{name} has {abs(points):.2f} points {direction} than {reference}, {shown}{doubt};"


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The error over the epochs, a colour a variant; test errors whole, training errors dashed.

    Training errors are means over an epoch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    target = found["until_training_error"]
    styles = {"train": "-"} if target else {"evaluation": "-", "train": "--"}
    for index, (name, variant) in enumerate(found["variants"].items()):
        for split, style in styles.items():
            for number, run in enumerate(variant["runs"].values()):
                epochs, errors = zip(*run["curves"][split], strict=True)
                label = name if number == 0 and style == "-" else None
                width = 1.8 if style == "-" else 0.8
                percent = [100 * error for error in errors]
                axes.plot(epochs, percent, style, color=f"C{index}", label=label, lw=width)
    if target:
        axes.axhline(100 * target, color="grey", lw=0.8)
    axes.set(
        xlabel="epoch",
        ylabel="training error over an epoch, %" if target else "test (dashed: training) error, %",
    )
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
