"""Memory and time of a step, as one dictionary of plain values."""

import copy
import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from . import compiler, roofline
from .compiler import Program
from .gpu import Gpu
from .hlo import Collective
from .roofline import IDEAL, Assumptions, CollectiveTiming

IMAGES_PER_CORE = 2_776  # images/s that one core loads: 5,552 on two of an AMD EPYC
EPOCHS = 90
WORKSPACES = 0.05  # of that memory: cuDNN chooses its own when the run starts
SMALL = 4096  # bytes; smaller collectives are sums of losses, errors and norms

MODELLED = "a modelled bound: compiled for these GPUs, timed on none"

Plan = dict[str, Any]


def make_plan(
    config: ConfigDict,
    classes: int,
    examples: int | None,
    gpu: Gpu,
    topology: str,
    *,
    largest_batch: bool = True,
) -> Plan:
    """Compiles the step for the topology and for two GPUs, and models memory and time.

    Args:
      classes: of the data set.
      examples: training images; None if unknown.
      topology: PARTITIONSxHOSTSxGPUS.
      largest_batch: whether to find the largest that fits, by some more compilations.
    """
    devices = compiler.gpus(gpu, topology)
    program = compiler.compile_step(config, classes, devices, gpu)
    step = roofline.run(program, gpu, Assumptions())
    bound = roofline.run(program, gpu, IDEAL)
    per_second = program.global_batch / step.seconds
    per_host = program.images_per_host() / step.seconds
    data, model = program.mesh.shape["data"], program.mesh.shape["model"]
    two = _two_gpus(config, classes, gpu, program)
    plan: Plan = {
        "about": MODELLED,
        "gpu": gpu.key,
        "topology": topology,
        "gpus": len(devices),
        "mesh": {"data": data, "model": model},
        "dtype": config.dtype,
        "batch_size": program.global_batch,
        "images_per_shard": program.images_per_shard,
        "memory": {
            **dataclasses.asdict(program.memory),
            "gpu": int(gpu.memory),
            "usable": usable(gpu),
        },
        "collectives": [_collective(timing, model) for timing in step.collectives],
        "roofline": {
            "parts": {name: dataclasses.asdict(part) for name, part in step.parts.items()},
            "collective_seconds": sum(timing.seconds for timing in step.collectives),
            "exposed_seconds": step.exposed,
            "seconds": step.seconds,
            "ideal_seconds": bound.seconds,
        },
        "images_per_second": per_second,
        "ideal_images_per_second": program.global_batch / bound.seconds,
        "loader": {
            "images_per_second_per_host": per_host,
            "cores_per_host": math.ceil(per_host / IMAGES_PER_CORE),
        },
        "hours_for_90_epochs": examples and EPOCHS * examples / per_second / 3600,
        "two_gpus": {"images_per_second": two},
        "scaling_efficiency": per_second / (two * len(devices) / 2) if two else None,
    }
    plan["assumptions"] = dataclasses.asdict(Assumptions())
    plan["compiler_options"] = compiler.options(gpu)
    if largest_batch:
        plan["largest_batch"] = find_largest_batch(config, classes, gpu, devices, program)
    return plan


def usable(gpu: Gpu) -> int:
    """Bytes that JAX allocates on a GPU, minus a share for what XLA does not plan."""
    fraction = float(os.environ.get("XLA_CLIENT_MEM_FRACTION", "0.9"))  # launch/run.sh's
    return int(gpu.memory * fraction * (1 - WORKSPACES))


def _two_gpus(config: ConfigDict, classes: int, gpu: Gpu, program: Program) -> float | None:
    """Images/s of two GPUs with as many images per GPU as in the program."""
    model = program.mesh.shape["model"]
    if program.mesh.size < 2 or model > 2:
        return None
    if program.mesh.size == 2:
        return program.global_batch / roofline.run(program, gpu, Assumptions()).seconds
    two = with_mesh(config, model, batch_size=program.images_per_shard * 2 // model)
    alone = compiler.compile_step(two, classes, compiler.gpus(gpu, "1x1x2"), gpu)
    return alone.global_batch / roofline.run(alone, gpu, Assumptions()).seconds


def with_mesh(config: ConfigDict, model: int, batch_size: int) -> ConfigDict:
    """The recipe with `model` GPUs for the towers, and the remaining factor for data shards."""
    changed = copy.deepcopy(config)
    changed.batch_size = batch_size
    changed.mesh.model, changed.mesh.data = str(model), "auto"
    return changed


def find_largest_batch(
    config: ConfigDict, classes: int, gpu: Gpu, devices: list, program: Program
) -> Plan:
    """Compiles larger batches until the largest that fits is known to 2%."""
    shards, model = program.mesh.shape["data"], program.mesh.shape["model"]

    def total(images: int) -> int:
        larger = with_mesh(config, model, batch_size=images * shards)
        return compiler.compile_step(larger, classes, devices, gpu).memory.total

    memory, images = program.memory, program.images_per_shard
    fixed = memory.parameters + memory.optimizer
    guess = max(1, int(images * (usable(gpu) - fixed) / (memory.total - fixed)))
    fits, too_many = search(total, usable(gpu), {images: memory.total}, guess)
    return {
        "images_per_shard": fits,
        "batch_size": fits * shards,
        "does_not_fit": too_many * shards,
    }


def search(
    total: Callable[[int], int], room: int, known: dict[int, int], guess: int
) -> tuple[int, int]:
    """Two numbers at most 2% apart: `total` of the first fits into `room`, of the second not.

    The first is 0 where not even 1 fits. `total` should be about linear; `known` has some of it.
    """
    known = dict(known)
    while True:
        known[guess] = total(guess)
        fits = max((n for n, size in known.items() if size <= room), default=0)
        too_many = min((n for n, size in known.items() if size > room), default=None)
        if too_many is not None and too_many - fits <= max(1, fits // 50):
            return fits, too_many
        low = fits or min(known)
        high = too_many or max(known)
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
    rows = {device // model for device in collective.groups[0]}
    axis = (
        "towers" if len(rows) == 1 else "data" if len(rows) == len(collective.groups[0]) else "all"
    )
    return {
        "kind": collective.kind,
        "tensor": tensor(collective),
        "shapes": [str(array) for array in collective.operands],
        "axis": axis,
        "gpus": len(collective.groups[0]),
        "bytes": collective.bytes,
        "bytes_sent": collective.bytes_sent,
        "across_hosts": timing.across_hosts,
        "bandwidth": timing.bandwidth,
        "seconds": timing.seconds,
        "exposed_seconds": timing.exposed,
        "overlaps": timing.exposed < 0.5 * timing.seconds,
    }


def tensor(collective: Collective) -> str:
    """The tensor of a collective, in words."""
    layers = collective.layers
    if not layers or collective.bytes < SMALL:
        return "sums: scores, loss, norm"
    name = layers[0] if len(layers) == 1 else f"{layers[0]} … {layers[-1]}"
    if collective.kind == "all-gather":
        return f"maps into {name}"
    if collective.kind == "reduce-scatter":
        return f"gradient of maps into {name}"
    return f"gradient of {name}"


def compare(
    plan: Plan, config: ConfigDict, classes: int, examples: int | None, gpu: Gpu, topology: str
) -> Plan:
    """Plans for all possible meshes of the topology, the fastest first."""
    count = plan["gpus"]
    towers = config.model.towers
    plans, impossible = [plan], {}
    for model in (n for n in range(1, towers + 1) if towers % n == count % n == 0):
        data = count // model
        if model == plan["mesh"]["model"]:
            continue
        if config.batch_size % data:
            impossible[f"{data} × {model}"] = f"{data} shards do not divide {config.batch_size}"
            continue
        other = with_mesh(config, model, config.batch_size)
        plans.append(make_plan(other, classes, examples, gpu, topology, largest_batch=False))
    plans.sort(key=lambda plan: -plan["images_per_second"])
    return {"meshes": plans, "impossible": impossible, "why": _why(plans)}


def _why(plans: list[Plan]) -> str:
    best, *others = plans
    if not others:
        return "no other mesh is possible"
    next_best = others[0]

    def parts(plan: Plan) -> dict[str, float]:
        seconds = {name: part["seconds"] for name, part in plan["roofline"]["parts"].items()}
        return {**seconds, "waiting for collectives": plan["roofline"]["exposed_seconds"]}

    saved = {name: parts(next_best)[name] - seconds for name, seconds in parts(best).items()}
    changes = [
        f"{abs(seconds) * 1e3:.2f} ms {'less' if seconds > 0 else 'more'} {name}"
        for name, seconds in sorted(saved.items(), key=lambda item: -abs(item[1]))
        if abs(seconds) >= 5e-6
    ]
    gain = best["images_per_second"] / next_best["images_per_second"] - 1
    mesh = "data {data} × model {model}".format(**best["mesh"])
    return f"{mesh} is {gain:.0%} faster: {', '.join(changes)}"
