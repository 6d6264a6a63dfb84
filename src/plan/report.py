"""A plan as text."""

import textwrap
from typing import Any

from ..cli.text import duration, megabytes, table
from .gpu import Gpu
from .plan import EPOCHS, IMAGES_PER_CORE, MODELLED, WORKSPACES, Plan, describe_mesh
from .roofline import Assumptions


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def describe(plan: Plan, gpu: Gpu, recipe: str) -> str:
    """All of a plan but its comparison, in paragraphs."""
    labels = {
        "inputs": "batch and mean image",
        "activations": "activations kept for the backward pass",
        "usable": f"usable of {gpu.memory / 1e9:.0f} GB",
    }
    sizes = [[labels.get(name, name), megabytes(size)] for name, size in plan["memory"].items()]
    paragraphs = [
        [
            f"{recipe}, {plan['dtype']}, {plan['gpus']} × {gpu.name} ({plan['topology']})",
            MODELLED[0].upper() + MODELLED[1:],
            f"mesh {describe_mesh(plan)}, global batch {plan['batch_size']:,}: "
            f"{plan['images_per_shard']:,} images per data shard",
        ],
        ["Memory of one GPU", *table([row for row in sizes if row[0] != "gpu"])],
        ["Collectives of a step, by one GPU", *_collectives(plan["collectives"])],
        ["Time of a step", *_times(plan)],
        _speeds(plan),
        ["Assumed", *_assumed(gpu, plan["compiler_options"])],
    ]
    if largest := plan.get("largest_batch"):
        line = (
            f"largest batch that fits: {largest['batch_size']:,} ({largest['images_per_shard']:,} "
            f"per data shard); {largest['does_not_fit']:,} does not fit"
        )
        one_fits = largest["images_per_shard"] > 0
        paragraphs[1].append(
            "  " + (line if one_fits else "not even one image per data shard fits")
        )
    return "\n\n".join(map("\n".join, paragraphs))


def _collectives(collectives: list[dict[str, Any]]) -> list[str]:
    if not collectives:
        return ["  none"]
    rows = [["kind", "tensor", "axis", "GPUs", "sends", "over", "at", "time", "adds"]]
    for timing in collectives:
        names = [timing["kind"], timing["tensor"], timing["axis"], str(timing["gpus"])]
        link = "network" if timing["across_hosts"] else "NVLink"
        rate = f"{timing['bandwidth'] / 1e9:.0f} GB/s"
        seconds = [f"{timing[name] * 1e6:.0f} µs" for name in ("seconds", "exposed_seconds")]
        rows.append([*names, megabytes(timing["bytes_sent"]), link, rate, *seconds])
    return table(rows, right_from=3)


def _times(plan: Plan) -> list[str]:
    roof, collectives = plan["roofline"], plan["collectives"]
    rows = [["", "time", "kernels", "work", "done at"]]
    for name, part in roof["parts"].items():
        seconds = part["seconds"] or 1
        work, rate = f"{part['bytes'] / 1e9:.2f} GB", f"{part['bytes'] / seconds / 1e9:,.0f} GB/s"
        if part["flops"]:
            work = f"{part['flops'] / 1e9:,.0f} GFLOP"
            rate = f"{part['flops'] / seconds / 1e12:,.1f} TFLOP/s"
        rows.append([name, milliseconds(part["seconds"]), str(part["kernels"]), work, rate])
    seconds, exposed = roof["collective_seconds"], roof["exposed_seconds"]
    sent = sum(timing["bytes_sent"] for timing in collectives)
    work, rate = f"{sent / 1e9:.3f} GB", f"{sent / (seconds or 1) / 1e9:,.0f} GB/s"
    rows.append(["collectives", milliseconds(seconds), str(len(collectives)), work, rate])
    rows.append(["step", milliseconds(roof["seconds"]), "", "", ""])
    rows.append(["step at the datasheet's peaks", milliseconds(roof["ideal_seconds"]), "", "", ""])
    overlap, added = milliseconds(seconds - exposed), milliseconds(exposed)
    note = f"collectives overlap compute for {overlap}, and add {added}"
    return [*table(rows), f"  {note if collectives else 'no collectives'}"]


def _speeds(plan: Plan) -> list[str]:
    loader, hours = plan["loader"], plan["hours_for_90_epochs"]
    unknown = f"{EPOCHS} epochs: give the number of training images with --examples"
    lines = [
        f"Predicted: {plan['images_per_second']:,.0f} images/s "
        f"({plan['ideal_images_per_second']:,.0f} at the datasheet's peaks)",
        f"  the loader must deliver {loader['images_per_second_per_host']:,.0f} images/s on each "
        f"host: {loader['cores_per_host']} cores",
        f"  {unknown if hours is None else f'{EPOCHS} epochs take {duration(3600 * hours)}'}",
    ]
    if plan["scaling_efficiency"] is not None:
        lines.append(
            f"  {plan['scaling_efficiency']:.0%} of what {plan['gpus']} GPUs would do at the pace "
            f"of two ({plan['two_gpus']['images_per_second']:,.0f} images/s, as many images a GPU)"
        )
    return lines


def _assumed(gpu: Gpu, options: dict[str, bool]) -> list[str]:
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
        "  memory-bound kernels take the time XLA estimates, or read cached arrays once;",
        "  compiled with",
        *(f"  {name}={str(value).lower()}" for name, value in options.items()),
    ]


def format_comparison(comparison: Plan) -> str:
    rows = [["mesh", "memory", "compute", "waits", "step", "images/s", "of two GPUs'", "90 epochs"]]
    for plan in comparison["meshes"]:
        waits, step = plan["roofline"]["exposed_seconds"], plan["roofline"]["seconds"]
        times = map(milliseconds, (step - waits, waits, step))
        row = [describe_mesh(plan), f"{plan['memory']['total'] / 1e9:.2f} GB", *times]
        row.append(f"{plan['images_per_second']:,.0f}")
        efficiency, hours = plan["scaling_efficiency"], plan["hours_for_90_epochs"]
        row.append("" if efficiency is None else f"{efficiency:.0%}")
        row.append("" if hours is None else duration(3600 * hours))
        rows.append(row)
    impossible = comparison["impossible"].items()
    lines = [
        "Meshes",
        *table(rows),
        *(f"  {mesh}: not possible, {why}" for mesh, why in impossible),
    ]
    why = textwrap.wrap(comparison["why"], 96, break_on_hyphens=False)
    return "\n".join([*lines, "Best", textwrap.indent("\n".join(why), "  ")])
