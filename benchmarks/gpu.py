"""Measures training on one GPU, beside PyTorch and beside what the planner models.

    python -m benchmarks.gpu [--minutes=9] [--photos=DIRECTORY] [--card=KEY] [--json=FILE]

It needs JAX for GPUs (the extra cuda12 or cuda13), but no network. PyTorch with CUDA and the extra
`plan` are optional. The first table shows the training step of configs/alexnet.py, 224 px, where
the batch is on the GPU already:

  float32    products and convolutions with all bits
  TF32       float32 as XLA and cuDNN prefer it on recent GPUs: what src.main runs by default
  bfloat16   --config.dtype=bfloat16, and PyTorch's autocast

Then come the kernels of each step by time, and the speed of the loader on all cores. Each
measurement is a process of its own, one by one (benchmarks/gpu_parts.py). After one round of all,
ours and PyTorch's are repeated in turns, at most twice, and only if --minutes will likely suffice.
--json is written after each part.

`--platform=cpu` rehearses all this on a CPU, with two images a step.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import PRECISIONS, case_name
from benchmarks.table import Row
from benchmarks.worker import run_worker
from src.cli.text import table
from src.errors import UserError, check_extra
from src.plan import gpu
from src.runs.system_info import describe_system

SIZES: dict[str, dict[str, Any]] = {
    "gpu": {"batches": [128, 256, 512, 1024], "steps": 10, "seconds": 1.5},
    "cpu": {"batches": [2], "steps": 1, "seconds": 0},
}
ROUNDS = {"gpu": 3, "cpu": 1}
PHOTOS = {"gpu": 1000, "cpu": 10}
STEPS: dict[str, dict[str, Any]] = {
    "ours": {"what": "ours"},
    "PyTorch": {"what": "pytorch"},
    "compiled": {"what": "pytorch", "compiled": 1},
}

WIDTH = 40  # of kernels' names
SHOWN = 12  # kernels of each precision
NO_KERNELS = "  the trace has no kernels"
MISSING = "–"  # failed, or did not fit into the memory

Results = dict[str, Any]


def main() -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--platform", choices=SIZES, default="gpu", help="cpu: a rehearsal")
    parser.add_argument("--minutes", type=float, default=9, help="that all should take")
    parser.add_argument("--photos", help="a directory with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--card", choices=gpu.known(), help="the planner's; default: that found")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    flags = parser.parse_args()
    end = time.monotonic() + 60 * flags.minutes

    session = Session(flags.platform, flags.json)
    seconds = session.measure_round()
    session.measure_loader(flags.photos)
    session.measure("kernels", what="kernels")
    session.model(flags.card)
    for _ in range(1, ROUNDS[flags.platform]):
        if time.monotonic() + seconds > end:
            break
        seconds = session.measure_round()
    print(report(session.results, SIZES[flags.platform]["batches"]))


class Session:
    """Runs measurements, and keeps their results, also in a file."""

    def __init__(self, platform: str, file: Path | None):
        self._platform, self._file = platform, file
        device = run_worker("gpu_parts", what="device", platform=platform)
        if device["platform"] != platform:
            raise SystemExit(
                f"error: no GPU: JAX finds only {device['platform']!r}; install the extra cuda13 "
                "or cuda12, or rehearse with --platform=cpu"
            )
        self.results: Results = {**describe_system(), "device": device, "notes": []}
        self.results["rounds"] = []  # images/s by measurement, precision and batch
        if not device["pytorch"]:
            self._note("PyTorch is not installed or cannot use this device: it is left out")

    def measure(self, name: str, **flags: Any) -> None:
        """Adds what a measurement on the device gives."""
        self.results[name] = self._run(**flags, **self._sizes())
        self._save()

    def measure_round(self) -> float:
        """Adds a round of steps, ours and PyTorch's, and returns the seconds that it took.

        Every other round reverses their order.
        """
        started = time.monotonic()
        names = list(STEPS) if self.results["device"]["pytorch"] else ["ours"]
        rounds = self.results["rounds"]
        rounds.append({})
        for name in names if len(rounds) % 2 else reversed(names):
            rounds[-1][name] = self._run(**STEPS[name], **self._sizes())
            self._save()
        return time.monotonic() - started

    def measure_loader(self, photos: str | None) -> None:
        """Adds the loader's speed, with generated photographs if there are no others."""
        with tempfile.TemporaryDirectory() as root:
            if not photos:
                photos = f"{root}/photos"
                run_worker("photos", folder=photos, count=PHOTOS[self._platform])
            sizes = SIZES[self._platform]
            files = {"photos": photos, "root": f"{root}/prepared"}
            batch, seconds = sizes["batches"][-1], 2 * sizes["seconds"]
            loader = self._run(what="loader", **files, batch=batch, seconds=seconds)
        self.results["loader"] = loader
        self._save()

    def model(self, key: str | None) -> None:
        """Adds the planner's speeds if it knows the device and its extra is installed."""
        kind = self.results["device"]["kind"]
        key = key or next((key for key in gpu.known() if gpu.load(key).name == kind), None)
        if not key:
            self._note(f"the planner does not know {kind!r}: nothing is modelled")
            return
        try:
            check_extra("plan")
        except UserError as error:
            self._note(f"nothing is modelled: {error}")
            return
        self.measure("modelled", what="plan", card=key)

    def _sizes(self) -> dict[str, Any]:
        sizes = SIZES[self._platform]
        batches = ",".join(map(str, sizes["batches"]))
        return {**sizes, "batches": batches, "platform": self._platform}

    def _run(self, **flags: Any) -> Results:
        """What a measurement gives; nothing if it fails: the others still count."""
        try:
            return run_worker("gpu_parts", **flags)
        except SystemExit as error:
            self._note(f"{str(error).removeprefix('error: ')}; its message is above")
            return {}

    def _note(self, text: str) -> None:
        self.results["notes"].append(text)
        self._save()

    def _save(self) -> None:
        if self._file:
            self._file.write_text(json.dumps(self.results, indent=2, ensure_ascii=False))


def report(results: Results, batches: list[int]) -> str:
    """The results as tables."""
    device, loader, rounds = results["device"], results["loader"], len(results["rounds"])
    about = ("date", "processor", "system", "versions")
    paragraphs = [
        [f"device: {device['kind']}, {device['runtime']}", *(f"{a}: {results[a]}" for a in about)],
        [
            f"Training step, images/s: median of {rounds} round{'s' * (rounds != 1)}",
            *table(step_rows(results, batches)),
        ],
    ]
    for precision, kernels in results["kernels"].items():
        total = sum(kernel["ms"] for kernel in kernels)
        title = f"Kernels of a step in {precision}, {batches[0]:,} images: {total:,.2f} ms"
        rows = table(kernel_rows(kernels, total), right_from=2) if total else [NO_KERNELS]
        paragraphs.append([title, *rows])
    if loader:
        speed = f"{loader['images_per_second']:,.0f} images/s on {loader['cores']} cores"
        paragraphs.append([f"Loader, 224-crops of 256 px: {speed}"])
    if results["notes"]:
        paragraphs.append(["Notes", *(f"  {note}" for note in results["notes"])])
    return "\n\n".join(map("\n".join, paragraphs))


def step_rows(results: Results, batches: list[int]) -> list[list[str]]:
    """The medians of each precision and batch; a ratio compares two speeds of one round."""
    rounds, modelled = results["rounds"], results.get("modelled", {})
    peers = [name for name in rounds[0] if name != "ours"]
    heads = ["", "images", "ours", "min – max", *peers]
    rows = [heads + ["÷ best"] * bool(peers) + ["modelled"] * bool(modelled)]
    for precision, batch in itertools.product(PRECISIONS, batches):
        case = case_name(precision, batch)
        speeds = [
            {name: each[name][case] for name in each if case in each[name]} for each in rounds
        ]
        row = [precision, f"{batch:,}", *cells([each["ours"] for each in speeds if "ours" in each])]
        for name in peers:
            row += cells([each[name] for each in speeds if name in each])[:1]
        if peers:
            pairs = [(each.pop("ours"), each) for each in speeds if {"ours"} < each.keys()]
            row += cells([ours / max(theirs.values()) for ours, theirs in pairs])[:1]
        if modelled:
            row += cells([modelled[case]])[:1]
        rows.append(row)
    return rows


def cells(values: list[float]) -> list[str]:
    """The median, and the minimum and the maximum."""
    return Row("", values).cells()[1:3] if values else [MISSING, MISSING]


def kernel_rows(kernels: list[dict[str, Any]], total: float) -> list[list[str]]:
    """The longest kernels of a step, and the sum of all others."""
    rows = [["kernel", "layer", "calls", "ms", "share"]]
    rest = {field: sum(kernel[field] for kernel in kernels[SHOWN:]) for field in ("calls", "ms")}
    for kernel in [*kernels[:SHOWN], {"kernel": "all others", "layer": "", **rest}]:
        name = kernel["kernel"]
        short = name if len(name) <= WIDTH else f"{name[: WIDTH - 1]}…"
        share = f"{kernel['ms'] / total:.0%}"
        rows.append([short, kernel["layer"], f"{kernel['calls']:g}", f"{kernel['ms']:.3f}", share])
    return rows


if __name__ == "__main__":
    main()
