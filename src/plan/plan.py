"""Memory and time of a step, as one dictionary of plain values."""

import copy
import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from . import compiler, roofline
from .compiler import Program
from .gpu import Gpu
from .roofline import IDEAL, Assumptions, CollectiveTiming

IMAGES_PER_CORE = 1_990  # images/s that one core loads: 3,979 on two (docs/benchmarks.md)
EPOCHS = 90
WORKSPACES = 0.05  # of JAX's memory: cuDNN chooses its own workspaces when the run starts

MODELLED = "a modelled bound: compiled for these GPUs, timed on none"

Plan = dict[str, Any]


class Workload(NamedTuple):
    """What is trained on which GPUs."""

    config: ConfigDict
    classes: int
    examples: int | None  # training images; None if unknown
    gpu: Gpu
    topology: str  # PARTITIONSxHOSTSxGPUS

    def compile(self) -> Program:
        devices = compiler.gpus(self.gpu, self.topology)
        return compiler.compile_step(self.config, self.classes, devices, self.gpu)

    def with_mesh(self, model: int, batch_size: int) -> "Workload":
        """The workload with `model` GPUs for the towers, and all others for data shards."""
        config = copy.deepcopy(self.config)
        config.batch_size = batch_size
        config.mesh.model, config.mesh.data = str(model), "auto"
        return self._replace(config=config)


def make_plan(workload: Workload, *, largest_batch: bool = True) -> Plan:
    """Compiles the step for the topology and for two GPUs, and models memory and time.

    Args:
      workload: what to plan for.
      largest_batch: whether to find the largest batch that fits, by some more compilations.
    """
    gpu, program = workload.gpu, workload.compile()
    timeline = roofline.run(program, gpu, Assumptions())
    model = program.mesh.shape["model"]
    plan = {
        "about": MODELLED,
        "gpu": gpu.key,
        "topology": workload.topology,
        "gpus": program.mesh.size,
        "mesh": {"data": program.mesh.shape["data"], "model": model},
        "dtype": workload.config.dtype,
        "batch_size": program.global_batch,
        "images_per_shard": program.images_per_shard,
        "memory": {**vars(program.memory), "gpu": int(gpu.memory), "usable": usable(gpu)},
        "collectives": [_collective(timing, model) for timing in timeline.collectives],
        **_speed(workload, program, timeline),
        "assumptions": dataclasses.asdict(Assumptions()),
        "compiler_options": compiler.options(gpu, program.mesh),
    }
    if largest_batch:
        plan["largest_batch"] = find_largest_batch(workload, program)
    return plan


def usable(gpu: Gpu) -> int:
    """Bytes that JAX allocates on a GPU, minus a share for what XLA does not plan."""
    fraction = float(os.environ.get("XLA_CLIENT_MEM_FRACTION", "0.9"))  # launch/run.sh's
    return int(gpu.memory * fraction * (1 - WORKSPACES))


def _speed(workload: Workload, program: Program, timeline: roofline.Timeline) -> Plan:
    ideal_seconds = roofline.run(program, workload.gpu, IDEAL).seconds
    per_second = program.global_batch / timeline.seconds
    per_host = program.images_per_host() / timeline.seconds
    hours = workload.examples and EPOCHS * workload.examples / per_second / 3600
    two = _two_gpus(workload, program)
    return {
        "roofline": {
            "parts": {name: dataclasses.asdict(part) for name, part in timeline.parts.items()},
            "collective_seconds": sum(timing.seconds for timing in timeline.collectives),
            "exposed_seconds": timeline.exposed,
            "seconds": timeline.seconds,
            "ideal_seconds": ideal_seconds,
        },
        "images_per_second": per_second,
        "ideal_images_per_second": program.global_batch / ideal_seconds,
        "loader": {
            "images_per_second_per_host": per_host,
            "cores_per_host": math.ceil(per_host / IMAGES_PER_CORE),
        },
        "hours_for_90_epochs": hours,
        "two_gpus": {"images_per_second": two},
        "scaling_efficiency": per_second / (two * program.mesh.size / 2) if two else None,
    }


def _two_gpus(workload: Workload, program: Program) -> float | None:
    """Images/s of two GPUs with as many images per GPU as in the program."""
    model = program.mesh.shape["model"]
    if program.mesh.size < 2 or model > 2:
        return None
    if program.mesh.size > 2:
        two = workload.with_mesh(model, program.images_per_shard * 2 // model)
        program = two._replace(topology="1x1x2").compile()
    return program.global_batch / roofline.run(program, workload.gpu, Assumptions()).seconds


def find_largest_batch(workload: Workload, program: Program) -> dict[str, int]:
    """Compiles larger batches until the largest that fits is known to 2%."""
    shards, model = program.mesh.shape["data"], program.mesh.shape["model"]

    def total(images: int) -> int:
        return workload.with_mesh(model, images * shards).compile().memory.total

    memory, images, room = program.memory, program.images_per_shard, usable(workload.gpu)
    fixed = memory.parameters + memory.optimizer
    guess = max(1, int(images * (room - fixed) / (memory.total - fixed)))
    fits, too_many = search(total, room, {images: memory.total}, guess)
    batch_size, does_not_fit = fits * shards, too_many * shards
    return {"images_per_shard": fits, "batch_size": batch_size, "does_not_fit": does_not_fit}


def search(
    total: Callable[[int], int], room: int, known: dict[int, int], guess: int
) -> tuple[int, int]:
    """Two numbers at most 2% apart: `total` of the first fits into `room`, of the second not.

    The first number is 0 if not even 1 fits. `total` must be about linear. `known` has some of its
    values, by number, and `guess` is the number to try first.
    """
    known = dict(known)
    while True:
        known[guess] = total(guess)
        fits = max((n for n, size in known.items() if size <= room), default=0)
        too_many = min((n for n, size in known.items() if size > room), default=None)
        if too_many is not None and too_many - fits <= max(1, fits // 50):
            return fits, too_many
        low, high = fits or min(known), too_many or max(known)
        if low == high:  # all known sizes are on one side
            low, high = min(known), max(known)
        if low == high:
            line = 2 * low if known[low] <= room else low / 2
        else:
            slope = (known[high] - known[low]) / (high - low)
            line = low + (room - known[low]) / slope if slope > 0 else 2 * high
        aside = line / 125  # avoids known sizes; two sizes as near as this suffice
        if too_many is None or (fits and line - fits <= 2 * aside):
            guess = math.ceil(line + aside)
        else:
            guess = math.floor(line - aside)
        if guess in known or not fits < guess < (too_many or math.inf):
            guess = (fits + too_many) // 2 if too_many else 2 * max(known)


def _collective(timing: CollectiveTiming, model: int) -> Plan:
    collective = timing.collective
    return {
        "kind": collective.kind,
        "tensor": collective.tensor,
        "shapes": [str(array) for array in collective.operands],
        "axis": collective.axis(model),
        "gpus": len(collective.groups[0]),
        "bytes": collective.bytes,
        "bytes_sent": collective.bytes_sent,
        "across_hosts": timing.across_hosts,
        "bandwidth": timing.bandwidth,
        "seconds": timing.seconds,
        "exposed_seconds": timing.exposed,
        "overlaps": timing.exposed < 0.5 * timing.seconds,
    }


def compare(plan: Plan, workload: Workload) -> Plan:
    """Plans for all possible meshes of the topology, the fastest first."""
    towers, batch_size = workload.config.model.towers, workload.config.batch_size
    plans, impossible = [plan], {}
    for model in range(1, towers + 1):
        if towers % model or plan["gpus"] % model or model == plan["mesh"]["model"]:
            continue
        shards = plan["gpus"] // model
        if batch_size % shards:
            impossible[f"{shards} × {model}"] = f"{shards} shards do not divide {batch_size}"
        else:
            plans.append(make_plan(workload.with_mesh(model, batch_size), largest_batch=False))
    plans.sort(key=lambda plan: -plan["images_per_second"])
    return {"meshes": plans, "impossible": impossible, "why": _why(plans)}


def _why(plans: list[Plan]) -> str:
    if len(plans) == 1:
        return "no other mesh is possible"
    best, second = plans[:2]

    def parts(plan: Plan) -> dict[str, float]:
        seconds = {name: part["seconds"] for name, part in plan["roofline"]["parts"].items()}
        return {**seconds, "waiting for collectives": plan["roofline"]["exposed_seconds"]}

    saved = {name: parts(second)[name] - seconds for name, seconds in parts(best).items()}
    changes = [
        f"{abs(seconds) * 1e3:.2f} ms {'less' if seconds > 0 else 'more'} {name}"
        for name, seconds in sorted(saved.items(), key=lambda item: -abs(item[1]))
        if abs(seconds) >= 5e-6
    ]
    gain = best["images_per_second"] / second["images_per_second"] - 1
    return f"{describe_mesh(best)} is {gain:.0%} faster: {', '.join(changes)}"


def describe_mesh(plan: Plan) -> str:
    return "data {data} × model {model}".format(**plan["mesh"])
