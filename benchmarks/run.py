"""Measures what this project promises about speed and memory, and prints one table.

    python -m benchmarks.run [--only=PART,PART…] [--photos=FOLDER] [--json=FILE]

The parts are step, memory, pipeline, prediction and digits. All take half an hour, in which nothing
else should be running. Each measurement is a process of its own on two cores, one after another.
What is compared takes turns, round by round and every other round in reverse, so that a machine
that slows down does so for all. A ratio is of two measurements of the same round. The table has the
medians over the rounds and the extremes.

`--photos` has photographs as they come, in train/CLASS/* and val/CLASS/*. The default is a thousand
that benchmarks/photos.py makes.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import OtherPrograms
from benchmarks.table import AT_LEAST, AT_MOST, Row, ratio, render
from benchmarks.worker import CORES, alone
from src.runs.system_info import describe_system

PARTS = ("step", "memory", "pipeline", "prediction", "digits")

FULL = {"rounds": 3, "batch": 128, "seconds": 10, "photos": 1000, "steps": 60}
TOY = {"rounds": 1, "batch": 2, "seconds": 0, "photos": 10, "steps": 4}  # only shows that it runs

Sections = dict[str, list[Row]]
Sizes = dict[str, int]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="the parts to run")
    parser.add_argument("--photos", help="a folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--json", type=Path, help="a file to keep the numbers in")
    parser.add_argument("--toy", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    parts = flags.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only={flags.only}: {unknown.pop()!r} is none of {', '.join(PARTS)}")
    sizes = TOY if flags.toy else FULL

    about, others = describe_system(), OtherPrograms()
    sections: Sections = {}
    if "step" in parts or "memory" in parts:
        sections |= training(parts, sizes)
    with tempfile.TemporaryDirectory() as folder:
        photos = flags.photos or f"{folder}/photos"
        if not flags.photos and {"pipeline", "prediction"} & set(parts):
            alone("photos", folder=photos, count=sizes["photos"])
        if "pipeline" in parts:
            sections |= pipeline(photos, folder, sizes)
        if "prediction" in parts:
            sections |= prediction(photos, folder, sizes)
        if "digits" in parts:
            sections |= digits(folder, sizes)
    about["measured"] = (
        f"on {CORES} cores, {sizes['rounds']} rounds; "
        f"meanwhile other programs used {others.cores():.2f} cores"
    )

    print(*(f"{name}: {value}" for name, value in about.items()), "", sep="\n")
    print(render(sections))
    if flags.json:
        rows = {title: [row.summary() for row in rows] for title, rows in sections.items()}
        flags.json.write_text(json.dumps({**about, "results": rows}, indent=2, ensure_ascii=False))


class InTurns:
    """Runs each of several measurements once a round."""

    def __init__(self, rounds: int, candidates: dict[str, tuple[str, dict[str, Any]]]):
        self._results: dict[str, list[dict[str, Any]]] = {name: [] for name in candidates}
        for number in range(rounds):
            order = list(candidates) if number % 2 == 0 else list(reversed(candidates))
            for name in order:
                module, flags = candidates[name]
                self._results[name].append(alone(module, **flags))

    def __call__(self, name: str, what: str, scale: float = 1) -> list[float]:
        """What one of them gave, round by round."""
        return [result[what] * scale for result in self._results[name]]


def training(parts: list[str], sizes: Sizes) -> Sections:
    """The paper's network: the step of this project beside PyTorch's and plain JAX's."""
    flags = {"batch": sizes["batch"], "seconds": sizes["seconds"]}
    candidates = {"one": ("towers", flags), "torch": ("pytorch", flags)}
    if "step" in parts:
        candidates |= {"grouped": ("grouped", flags), "two": ("towers", flags | {"devices": 2})}
    results = InTurns(sizes["rounds"], candidates)

    sections = {}
    if "step" in parts:
        speed = {name: results(name, "images_per_second") for name in candidates}
        sections[f"Training step, 224 px, float32, batch {sizes['batch']}"] = [
            Row("one device", speed["one"], "images/s"),
            Row("PyTorch, groups=2", speed["torch"], "images/s"),
            Row("JAX, feature_group_count=2", speed["grouped"], "images/s"),
            Row("two towers on two devices", speed["two"], "images/s"),
            ratio("one device ÷ PyTorch", speed["one"], speed["torch"], (AT_LEAST, 1.0)),
            ratio("one device ÷ JAX, grouped", speed["one"], speed["grouped"], (AT_LEAST, 3.5)),
            ratio("two devices ÷ one device", speed["two"], speed["one"], (AT_LEAST, 0.9)),
        ]
    if "memory" in parts:
        peak = {name: results(name, "peak_bytes", 1e-6) for name in ("one", "torch")}
        sections[f"Peak memory of training, batch {sizes['batch']}"] = [
            Row("one device", peak["one"], "MB"),
            Row("PyTorch, groups=2", peak["torch"], "MB"),
            ratio("one device ÷ PyTorch", peak["one"], peak["torch"], (AT_MOST, 1.5)),
        ]
    return sections


def pipeline(photos: str, folder: str, sizes: Sizes) -> Sections:
    """Loading photographs: prepared by this project, beside tf.data with the originals."""
    flags = {
        "photos": photos,
        "root": f"{folder}/prepared",
        "batch": sizes["batch"],
        "seconds": sizes["seconds"],
    }
    loaders = ("ours", "tfdata", "tfdata-small")
    results = InTurns(
        sizes["rounds"], {name: ("pipeline", flags | {"loader": name}) for name in loaders}
    )
    speed = {name: results(name, "images_per_second") for name in loaders}
    return {
        "Loading photographs, 224-crops of 256 px, mirrored": [
            Row("this project, prepared", speed["ours"], "images/s", (AT_LEAST, 2500)),
            Row("tf.data, originals", speed["tfdata"], "images/s"),
            Row("tf.data, prepared (for information)", speed["tfdata-small"], "images/s"),
            ratio("prepared ÷ originals", speed["ours"], speed["tfdata"], (AT_LEAST, 3.0)),
            Row("an original", results("ours", "original_bytes", 1e-3), "kB"),
            Row("a prepared image", results("ours", "prepared_bytes", 1e-3), "kB"),
        ]
    }


def prediction(photos: str, folder: str, sizes: Sizes) -> Sections:
    """Predicting photographs in files, beside the same network with images in memory."""
    flags = {"photos": photos, "root": f"{folder}/prepared"}
    results = InTurns(sizes["rounds"], {"prediction": ("prediction", flags)})
    speed = results("prediction", "files_per_second")
    forward = results("prediction", "forward_per_second")
    return {
        "Predicting photographs, the paper's network, one view": [
            Row("from files", speed, "images/s"),
            Row("from memory", forward, "images/s"),
            ratio("from files ÷ from memory", speed, forward, (AT_LEAST, 0.8)),
            Row(
                "from the command to its first answer",
                results("prediction", "first_answer_seconds"),
                "s",
                (AT_MOST, 8),
            ),
        ]
    }


def digits(folder: str, sizes: Sizes) -> Sections:
    """Whether training on little images waits for them."""
    flags = {"root": f"{folder}/prepared", "steps": sizes["steps"]}
    results = InTurns(sizes["rounds"], {"digits": ("digits", flags)})
    return {
        "Training on digits, configs/small.py": [
            Row("speed", results("digits", "images_per_second"), "images/s"),
            Row(
                "the device waits for a batch",
                results("digits", "device_waits", 100),
                "%",
                (AT_MOST, 1),
            ),
            Row("the loop waits, the device at work", results("digits", "loop_waits", 100), "%"),
        ]
    }


if __name__ == "__main__":
    main()
