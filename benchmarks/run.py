"""Measures the speed and memory that this project promises, and prints one table.

    python -m benchmarks.run [--only=PART,PART…] [--photos=DIRECTORY] [--json=FILE]

The parts are step, memory, pipeline, prediction and start. All of them take up to half an hour, in
which nothing else should run. Each measurement is its own process on two cores, one by one.
Measurements that are compared take turns in each round, and every other round reverses their order:
a machine that slows down then slows all of them. A ratio compares two measurements of one round.
The table shows the median, minimum and maximum over the rounds.

`--photos` holds unprepared photographs in train/CLASS/* and val/CLASS/*. By default,
benchmarks/photos.py generates a thousand.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import CORES, Session
from benchmarks.table import AT_LEAST, AT_MOST, Row, Sections, print_sections, ratio
from benchmarks.worker import run_worker

PARTS = ("step", "memory", "pipeline", "prediction", "start")

FULL = {"rounds": 3, "batch": 128, "seconds": 10, "photos": 1000}
TOY = {"rounds": 1, "batch": 2, "seconds": 0, "photos": 10}  # tests only that it runs

Sizes = dict[str, int]


def main() -> None:
    """Runs the selected parts and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="the parts to run")
    parser.add_argument("--photos", help="a directory with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    parser.add_argument("--toy", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    parts = flags.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only={flags.only}: {unknown.pop()!r} is none of {', '.join(PARTS)}")
    sizes = TOY if flags.toy else FULL

    session = Session()
    sections: Sections = {}
    if "step" in parts or "memory" in parts:
        sections |= training(parts, sizes)
    with tempfile.TemporaryDirectory() as root:
        photos = flags.photos or f"{root}/photos"
        if not flags.photos and {"pipeline", "prediction"} & set(parts):
            run_worker("photos", folder=photos, count=sizes["photos"])
        if "pipeline" in parts:
            sections |= pipeline(photos, root, sizes)
        if "prediction" in parts:
            sections |= prediction(photos, root, sizes)
    if "start" in parts:
        sections |= starting(sizes)
    print_sections(session.describe(sizes["rounds"]), sections, flags.json)


class RoundRobin:
    """Results of several measurements, each of which runs once in every round."""

    def __init__(self, rounds: int, measurements: dict[str, tuple[str, dict[str, Any]]]):
        self._results: dict[str, list[dict[str, Any]]] = {name: [] for name in measurements}
        for number in range(rounds):
            order = list(measurements) if number % 2 == 0 else list(reversed(measurements))
            for name in order:
                module, flags = measurements[name]
                self._results[name].append(run_worker(module, **flags))

    def values(self, name: str, field: str, scale: float = 1) -> list[float]:
        """A field of one measurement's results, by round."""
        return [result[field] * scale for result in self._results[name]]


def training(parts: list[str], sizes: Sizes) -> Sections:
    """The training step of the paper's network, in this project and in PyTorch."""
    flags = {"batch": sizes["batch"], "seconds": sizes["seconds"]}
    towers, torch, kept = flags | {"devices": 2}, flags, {"keep_memory": True}
    measurements = {"ours": ("towers", towers), "torch": ("pytorch", torch)}
    if "step" in parts:
        measurements |= {
            "ours kept": ("towers", towers | kept),
            "one": ("towers", flags),
            "torch kept": ("pytorch", torch | kept),
            "torch last": ("pytorch", torch | kept | {"channels_last": 1}),
        }
    results = RoundRobin(sizes["rounds"], measurements)

    sections = {}
    if "step" in parts:
        speed = {name: results.values(name, "images_per_second") for name in measurements}
        theirs = [speed[name] for name in ("torch", "torch kept", "torch last")]
        best = [max(values) for values in zip(*theirs, strict=True)]
        sections[f"Training step, 224 px, float32, batch {sizes['batch']}"] = [
            Row("two towers on two devices", speed["ours"], "images/s"),
            Row("the same, memory kept", speed["ours kept"], "images/s"),
            Row("two towers on one device", speed["one"], "images/s"),
            Row("PyTorch, groups=2", speed["torch"], "images/s"),
            Row("the same, memory kept", speed["torch kept"], "images/s"),
            Row("the same, memory kept, channels_last", speed["torch last"], "images/s"),
            ratio("two devices ÷ PyTorch", speed["ours"], speed["torch"], (AT_LEAST, 1.5)),
            ratio("two devices ÷ the best PyTorch", speed["ours"], best, (AT_LEAST, 1.0)),
            ratio("memory kept ÷ the best PyTorch", speed["ours kept"], best, (AT_LEAST, 1.5)),
            ratio("two devices ÷ one device", speed["ours"], speed["one"], (AT_LEAST, 1.0)),
        ]
    if "memory" in parts:
        peak = {name: results.values(name, "peak_bytes", 1e-6) for name in ("ours", "torch")}
        sections[f"Peak memory of training, batch {sizes['batch']}"] = [
            Row("two towers on two devices", peak["ours"], "MB"),
            Row("PyTorch, groups=2", peak["torch"], "MB"),
            ratio("two devices ÷ PyTorch", peak["ours"], peak["torch"], (AT_MOST, 1.0)),
        ]
    return sections


def pipeline(photos: str, root: str, sizes: Sizes) -> Sections:
    """Loading photographs: this project's prepared ones, and tf.data with the originals."""
    flags = {
        "photos": photos,
        "root": f"{root}/prepared",
        "batch": sizes["batch"],
        "seconds": sizes["seconds"],
    }
    loaders = ("ours", "tfdata", "tfdata-small")
    large = {"loader": "ours", "batch": 8 * sizes["batch"]}  # of a process with eight GPUs
    variants = {"large": large, "cached": {"cache_gb": 1}, "large cached": large | {"cache_gb": 1}}
    preparing = {"photos": photos}
    results = RoundRobin(
        sizes["rounds"],
        {name: ("pipeline", flags | {"loader": name}) for name in loaders}
        | {name: ("pipeline", flags | variant) for name, variant in variants.items()}
        | {f"prepare{cores}": ("preparing", preparing | {"cores": cores}) for cores in (1, 2)},
    )
    speed = {name: results.values(name, "images_per_second") for name in (*loaders, *variants)}
    prepared = [results.values(f"prepare{cores}", "originals_per_second") for cores in (1, 2)]
    serial = {name: results.values(name, "serial_microseconds") for name in ("ours", "large")}
    allowed = {
        cores: [
            min(cores / CORES * of_all, 1e6 / of_one)
            for of_all, of_one in zip(speed["large"], serial["large"], strict=True)
        ]
        for cores in (16, 64, 128)
    }
    return {
        "Loading photographs, 224-crops of 256 px, mirrored": [
            Row("this project, prepared", speed["ours"], "images/s", (AT_LEAST, 2500)),
            Row("the same, kept in memory", speed["cached"], "images/s"),
            Row(
                f"the same, batch {large['batch']}",
                speed["large cached"],
                "images/s",
                (AT_LEAST, 20_000),
            ),
            Row("tf.data, originals", speed["tfdata"], "images/s"),
            Row("tf.data, prepared (for information)", speed["tfdata-small"], "images/s"),
            ratio("prepared ÷ originals", speed["ours"], speed["tfdata"], (AT_LEAST, 3.0)),
            Row("an original", results.values("ours", "original_bytes", 1e-3), "kB"),
            Row("a prepared image", results.values("ours", "prepared_bytes", 1e-3), "kB"),
        ],
        "The share of loading that no core takes from the process that trains, an image": [
            Row(f"batch {sizes['batch']}", serial["ours"], "µs", (AT_MOST, 5)),
            Row(f"batch {large['batch']}", serial["large"], "µs", (AT_MOST, 5)),
            *(Row(f"allows on {n} cores", values, "images/s") for n, values in allowed.items()),
        ],
        "Preparing photographs": [
            Row("one core", prepared[0], "originals/s"),
            Row("two cores", prepared[1], "originals/s"),
            ratio("two cores ÷ one core", prepared[1], prepared[0], (AT_LEAST, 1.6)),
        ],
    }


def prediction(photos: str, root: str, sizes: Sizes) -> Sections:
    """Prediction on files, and by the same network on images in memory."""
    flags = {"photos": photos, "root": f"{root}/prepared"}
    results = RoundRobin(sizes["rounds"], {"prediction": ("prediction", flags)})
    speed = results.values("prediction", "files_per_second")
    forward = results.values("prediction", "forward_per_second")
    return {
        "Predicting photographs, the paper's network, one view": [
            Row("from files", speed, "images/s"),
            Row("from memory", forward, "images/s"),
            ratio("from files ÷ from memory", speed, forward, (AT_LEAST, 0.8)),
            Row(
                "from the command to its first answer",
                results.values("prediction", "first_answer_seconds"),
                "s",
                (AT_MOST, 8),
            ),
        ]
    }


def starting(sizes: Sizes) -> Sections:
    """The start of training on the digits."""
    results = RoundRobin(sizes["rounds"], {"start": ("starting", {})})
    return {
        "From the command to the first step, digits": [
            Row("first run", results.values("start", "first_seconds"), "s", (AT_MOST, 7)),
            Row("second run", results.values("start", "second_seconds"), "s", (AT_MOST, 4)),
        ]
    }


if __name__ == "__main__":
    main()
