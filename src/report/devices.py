"""Which device holds which towers, and what the devices communicate in a step of training."""

from typing import Any

import numpy as np

from ..plan import hlo
from ..runs.results import read_result
from ..training.step import lower_step
from .run import Run


def section(run: Run) -> dict[str, Any] | None:
    """The step of training, compiled for the devices of this machine.

    None for imported weights, or if the devices cannot divide the batch. Of batches in parts, the
    compiled step does not say how often it runs its `collectives`; they are None.
    """
    shards, model = run.mesh.devices.shape
    if run.is_imported or run.config.batch_size % shards:
        return None
    result = read_result(run.workdir)
    return {
        "shape": (shards, model),
        "devices": _devices(run.mesh.devices, run.config.model.towers, run.config.batch_size),
        "collectives": _collectives(run, model) if run.config.accumulate == 1 else None,
        "trained_on": result and result["machine"],
    }


def _devices(devices: np.ndarray, towers: int, batch_size: int) -> list[dict[str, str]]:
    """Each device with its towers and its images of a batch."""
    shards, model = devices.shape
    return [
        {
            "name": f"{device.platform} {device.id}",
            "towers": _range(column, towers // model),
            "images": _range(row, batch_size // shards),
        }
        for (row, column), device in np.ndenumerate(devices)
    ]


def _range(index: int, length: int) -> str:
    """The numbers of part `index`, counted from 1."""
    first, last = index * length + 1, (index + 1) * length
    return f"{first}" if length == 1 else f"{first} to {last}"


def _collectives(run: Run, model: int) -> list[dict[str, Any]]:
    """What each device sends in a step; equal kinds of one tensor are added up."""
    config, num_classes = run.config, len(run.class_names)
    compiled = lower_step(config, num_classes, run.mesh).compile()
    program = hlo.instructions(hlo.program_text(compiled))
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for collective in hlo.collectives(program, run.architecture.layer_names):
        key = collective.kind, collective.tensor, collective.axis(model)
        row = rows.setdefault(key, {"count": 0, "bytes": 0})
        row["count"] += 1
        row["bytes"] += collective.bytes_sent
    names = ("kind", "tensor", "axis")
    return [dict(zip(names, key, strict=True)) | row for key, row in rows.items()]
