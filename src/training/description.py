"""What a run is, in a few lines for its user."""

import textwrap

from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..distributed.mesh import DATA_AXIS
from ..models.architecture import Architecture
from ..models.factory import parameter_counts
from ..models.layers import TOWER_AXIS
from .periods import Periods


def describe_run(
    config: ConfigDict, dataset: PreparedDataset, mesh: Mesh, periods: Periods, step: int
) -> str:
    """The network, its images and devices, and what training will do from this step on."""
    architecture, classes = Architecture.from_config(config.model), len(dataset.class_names)
    parameters = sum(parameter_counts(architecture, classes).values())
    counts, split = dataset.num_examples, dataset.eval_split
    first_weights = f", with the weights of {config.init_from}" if config.init_from else ""
    begin = f"resumes after step {step:,}" if step else f"starts{first_weights}"
    lines = {
        "network": f"{_count(config.model.towers, 'tower')}, {parameters:,} parameters, crops of "
        f"{config.model.image_size} pixels, {config.dtype}",
        "images": f"{config.data.dataset}: {counts[dataset.train_split]:,} to train, "
        f"{counts[split]:,} to evaluate ({split}), {_count(classes, 'class', 'es')}",
        "devices": _describe_devices(mesh, config.model.towers),
        "training": f"{periods.total:,} steps of {config.batch_size} images, "
        f"{periods.epoch(periods.total):.4g} epochs; {begin}",
    }
    return labeled(lines)


def labeled(lines: dict[str, str]) -> str:
    """Lines with labels, for a terminal of 80 columns."""
    indent = " " * 10
    return "\n".join(
        textwrap.fill(line, 79, initial_indent=f"{label:10}", subsequent_indent=indent)
        for label, line in lines.items()
    )


def _describe_devices(mesh: Mesh, towers: int) -> str:
    shards, sharers = mesh.shape[DATA_AXIS], mesh.shape[TOWER_AXIS]
    kind = mesh.devices.flat[0].device_kind
    described = f"{mesh.size} × {kind}, mesh {shards} × {sharers} (data × model)"
    if sharers == 1:
        return f"{described}, {'both towers' if towers == 2 else _count(towers, 'tower')} on each"
    numbers = {device: i for i, device in enumerate(sorted(mesh.devices.flat, key=lambda d: d.id))}
    places = [_list([numbers[device] for device in column]) for column in mesh.devices.T]
    each = towers // sharers
    names = [", ".join(str(place * each + i + 1) for i in range(each)) for place in range(sharers)]
    held = [f"tower {name} on {ids}" for name, ids in zip(names, places, strict=True)]
    return f"{described}, {', '.join(held)}"


def _list(devices: list[int]) -> str:
    shown = ", ".join(map(str, devices[:4]))
    return f"device{'s' * (len(devices) > 1)} {shown}{'…' * (len(devices) > 4)}"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{plural * (number != 1)}"
