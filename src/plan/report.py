"""A plan as readable text and tables."""

import textwrap
from typing import Any

from .compiler import options
from .gpu import Gpu
from .plan import EPOCHS, IMAGES_PER_CORE, MODELLED, WORKSPACES, Plan
from .roofline import Assumptions


def table(rows: list[list[str]], right_from: int = 1) -> list[str]:
    """Aligned columns; those from `right_from` on are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i < right_from else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def mega(count: float) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e4 else f"{count:,.0f} B"


def duration(hours: float) -> str:
    return f"{hours:,.2f} hours" if hours > 0.1 else f"{hours * 3600:,.0f} seconds"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def describe(plan: Plan, gpu: Gpu, recipe: str) -> str:
    mesh, memory, roof = plan["mesh"], plan["memory"], plan["roofline"]
    rows = {
        "parameters": memory["parameters"],
        "optimizer": memory["optimizer"],
        "batch and mean image": memory["inputs"],
        "activations kept for the backward pass": memory["activations"],
        "temporary": memory["temporary"],
        "all": memory["total"],
        f"usable of {gpu.memory / 1e9:.0f} GB": memory["usable"],
    }
    covered = milli(roof["collective_seconds"] - roof["exposed_seconds"])
    overlap = f"collectives overlap compute for {covered}, and add {milli(roof['exposed_seconds'])}"
    lines = [
        f"{recipe}, {plan['dtype']}, {plan['gpus']} × {gpu.name} ({plan['topology']})",
        MODELLED[0].upper() + MODELLED[1:],
        f"mesh data {mesh['data']} × model {mesh['model']}, global batch {plan['batch_size']:,}: "
        f"{plan['images_per_shard']:,} images a data shard",
        *("", "Memory of one GPU", *table([[name, mega(size)] for name, size in rows.items()])),
        *_largest(plan.get("largest_batch")),
        *("", "Collectives of a step, by one GPU", *_collectives(plan["collectives"])),
        *("", "Time of a step", *_times(plan)),
        "  " + (overlap if plan["collectives"] else "no collectives"),
        *("", *_speeds(plan)),
        *("", "Assumed", *_assumed(gpu)),
    ]
    return "\n".join(lines)


def _largest(largest: dict[str, int] | None) -> list[str]:
    if largest is None:
        return []
    if not largest["images_per_shard"]:
        return ["  not a single image a data shard fits"]
    return [
        f"  largest batch that fits: {largest['batch_size']:,} ({largest['images_per_shard']:,} a "
        f"data shard); {largest['does_not_fit']:,} does not"
    ]


def _collectives(collectives: list[dict[str, Any]]) -> list[str]:
    if not collectives:
        return ["  none"]
    rows = [["kind", "tensor", "axis", "GPUs", "sends", "over", "at", "time", "adds"]]
    for timing in collectives:
        seconds = [f"{timing[name] * 1e6:.0f} µs" for name in ("seconds", "exposed_seconds")]
        link = "network" if timing["across_hosts"] else "NVLink"
        sends, rate = mega(timing["bytes_sent"]), f"{timing['bandwidth'] / 1e9:.0f} GB/s"
        names = [timing["kind"], timing["tensor"], timing["axis"], str(timing["gpus"])]
        rows.append([*names, sends, link, rate, *seconds])
    return table(rows, right_from=3)


def _times(plan: Plan) -> list[str]:
    roof = plan["roofline"]
    rows = [["", "time", "kernels", "work", "done at"]]
    for name, part in roof["parts"].items():
        seconds = part["seconds"] or 1
        work, rate = f"{part['bytes'] / 1e9:.2f} GB", f"{part['bytes'] / seconds / 1e9:,.0f} GB/s"
        if part["flops"]:
            work = f"{part['flops'] / 1e9:,.0f} GFLOP"
            rate = f"{part['flops'] / seconds / 1e12:,.1f} TFLOP/s"
        rows.append([name, milli(part["seconds"]), str(part["kernels"]), work, rate])
    seconds, count = roof["collective_seconds"], str(len(plan["collectives"]))
    sent = sum(timing["bytes_sent"] for timing in plan["collectives"])
    rate = f"{sent / (seconds or 1) / 1e9:,.0f} GB/s"
    rows.append(["collectives", milli(seconds), count, f"{sent / 1e9:.3f} GB", rate])
    rows.append(["step", milli(roof["seconds"]), "", "", ""])
    rows.append(["step at the datasheet's peaks", milli(roof["ideal_seconds"]), "", "", ""])
    return table(rows)


def _speeds(plan: Plan) -> list[str]:
    loader, hours = plan["loader"], plan["hours_for_90_epochs"]
    lines = [
        f"Predicted: {plan['images_per_second']:,.0f} images/s "
        f"({plan['ideal_images_per_second']:,.0f} at the datasheet's peaks)",
        f"  the loader must deliver {loader['images_per_second_per_host']:,.0f} images/s on each "
        f"host: {loader['cores_per_host']} cores",
        f"  {EPOCHS} epochs take {duration(hours)}"
        if hours is not None
        else f"  {EPOCHS} epochs: give the number of training images with --examples",
    ]
    if plan["scaling_efficiency"] is not None:
        lines.append(
            f"  {plan['scaling_efficiency']:.0%} of what {plan['gpus']} GPUs would do at the pace "
            f"of two ({plan['two_gpus']['images_per_second']:,.0f} images/s, as many images a GPU)"
        )
    return lines


def _assumed(gpu: Gpu) -> list[str]:
    assumed = Assumptions()
    peaks = ", ".join(f"{unit} {flops / 1e12:,.0f}" for unit, flops in gpu.flops.items())
    return [
        f"  {gpu.name}: {peaks} TFLOP/s dense;",
        f"  memory {gpu.memory_bandwidth / 1e9:,.0f} GB/s; a GPU sends {gpu.nvlink / 1e9:.0f} GB/s "
        f"over NVLink and {gpu.network / 1e9:.2f} GB/s over the network",
        f"  ({gpu.source})",
        f"  of the peaks: convolutions {assumed.tensor_core_convolutions:.0%} on tensor cores and "
        f"{assumed.cuda_core_convolutions:.0%} on others,",
        f"  products {assumed.products:.0%}, memory {assumed.memory:.0%}, "
        f"links {assumed.links:.0%};",
        f"  a kernel takes {assumed.kernel_seconds * 1e6:.0f} µs and more, a collective "
        f"{assumed.host_latency * 1e6:.0f} µs and more within a host, "
        f"{assumed.network_latency * 1e6:.0f} µs across",
        f"  JAX takes XLA_CLIENT_MEM_FRACTION of the memory (0.9 with launch/run.sh),"
        f" {WORKSPACES:.0%} of it for cuDNN;",
        f"  a core loads {IMAGES_PER_CORE:,} images/s;",
        "  a collective over several hosts has the network of each host's GPUs that take part;",
        "  memory-bound kernels take what XLA estimates, or touch each array once if in the cache;",
        "  compiled with",
        *(f"  {name}={str(value).lower()}" for name, value in options(gpu).items()),
    ]


def format_comparison(comparison: Plan) -> str:
    rows = [["mesh", "memory", "compute", "waits", "step", "images/s", "of two GPUs'", "90 epochs"]]
    for plan in comparison["meshes"]:
        roof, hours = plan["roofline"], plan["hours_for_90_epochs"]
        efficiency = plan["scaling_efficiency"]
        waits, step = roof["exposed_seconds"], roof["seconds"]
        rows.append(
            [
                "data {data} × model {model}".format(**plan["mesh"]),
                f"{plan['memory']['total'] / 1e9:.2f} GB",
                *map(milli, (step - waits, waits, step)),
                f"{plan['images_per_second']:,.0f}",
                "" if efficiency is None else f"{efficiency:.0%}",
                "" if hours is None else duration(hours),
            ]
        )
    indent = "  "
    why = textwrap.wrap(
        comparison["why"],
        98,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    impossible = [
        f"  {mesh}: not possible, {why}" for mesh, why in comparison["impossible"].items()
    ]
    return "\n".join(["Meshes", *table(rows), *impossible, "Best", *why])
