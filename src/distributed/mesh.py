"""Devices as a mesh of data shards × towers, and what is laid how upon it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from ..errors import UserError
from ..models.layers import TOWER_AXIS

DATA_AXIS = "data"
BATCH = jax.P(DATA_AXIS)  # arrays whose leading axis is the example's
PARAMETERS = jax.P(TOWER_AXIS)  # arrays whose leading axis is the tower's


def make_mesh(
    towers: int,
    global_batch: int,
    *,
    data: str = "auto",
    model: str = "auto",
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Lays all devices out as (data, model).

    Args:
      towers: of the network; `model` devices share them.
      global_batch: images per step; `data` devices share them.
      data: its size, or "auto": the devices that `model` leaves.
      model: its size, or "auto": 2 where the number of devices and the number of towers are even,
        else 1.
      devices: to lay out; all there are by default.

    Raises:
      UserError: the numbers don't divide.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    model_size = _size("model", model, default=2 if count % 2 == towers % 2 == 0 else 1)
    if towers % model_size:
        raise UserError(
            f"config.mesh.model: {model_size} devices can't share {towers} towers evenly; "
            f"take one of {', '.join(str(n) for n in _divisors(towers))}"
        )
    if count % model_size:
        raise UserError(f"config.mesh.model: {model_size} does not divide the {count} devices")
    data_size = _size("data", data, default=count // model_size)
    if data_size * model_size != count:
        raise UserError(
            f"config.mesh: data {data_size} × model {model_size} = {data_size * model_size}, "
            f"but there are {count} devices"
        )
    if global_batch % data_size:
        raise UserError(
            f"config.batch_size: {data_size} data shards don't divide the global batch of "
            f"{global_batch}; take a multiple of {data_size}"
        )
    return jax.make_mesh(
        (data_size, model_size),
        (DATA_AXIS, TOWER_AXIS),
        axis_types=(AxisType.Auto,) * 2,
        devices=devices,
    )


def _size(field: str, value: str, default: int) -> int:
    if value == "auto":
        return default
    if not str(value).isdecimal() or int(value) < 1:
        raise UserError(f"config.mesh.{field}: {value!r} is neither 'auto' nor a positive number")
    return int(value)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def local_rows(mesh: Mesh, global_batch: int) -> np.ndarray:
    """The rows of the global batch that this process's devices hold, ascending: (rows,) int.

    Processes that hold different towers of one data shard have the same rows.
    """
    held = NamedSharding(mesh, BATCH).addressable_devices_indices_map((global_batch,))
    rows = [np.arange(global_batch)[index] for index in held.values() if index is not None]
    return np.unique(np.concatenate(rows))


def to_devices(mesh: Mesh, batch: Mapping[str, np.ndarray], global_batch: int) -> dict[str, Any]:
    """This process's rows, as global arrays (global batch, …) laid over the data shards."""
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(
            sharding, rows, (global_batch, *rows.shape[1:])
        )
        for name, rows in batch.items()
    }


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Arrays that every process has, on every device."""
    return jax.device_put(tree, NamedSharding(mesh, jax.P()))
