"""The mesh of devices, data shards × towers, and the sharding of arrays on it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from ml_collections import ConfigDict

from ..errors import UserError
from ..models.layers import TOWER_AXIS

DATA_AXIS = "data"
BATCH = jax.P(DATA_AXIS)  # arrays with one entry per example on the leading axis
PARAMETERS = jax.P(TOWER_AXIS)  # arrays with one entry per tower on the leading axis


def make_mesh(
    section: ConfigDict | None,
    *,
    towers: int,
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Arranges the devices, by default all, as (data, model).

    Args:
      section: `config.mesh`; None stands for "auto" in both fields. Then two devices share the
        towers if the numbers of devices and towers are even, else one; all share the batch.
      batch_size: images per step; None skips the check.

    Raises:
      UserError: a field is invalid, or the mesh does not divide the devices, towers or batch.
    """
    count = len(devices or jax.devices())
    model_size = _axis_size(section, "model", default=2 if count % 2 == towers % 2 == 0 else 1)
    if towers % model_size:
        divisors = ", ".join(str(n) for n in range(1, towers + 1) if towers % n == 0)
        raise UserError(
            f"config.mesh.model: {model_size} devices cannot share {towers} towers evenly; "
            f"choose one of {divisors}"
        )
    if model_size > count:
        raise UserError(
            f"config.mesh.model: {model_size} devices, but there are {count}; choose fewer"
        )
    data_size = _axis_size(section, "data", default=count // model_size)
    if (product := data_size * model_size) != count:
        raise UserError(
            f"config.mesh: data {data_size} × model {model_size} = {product}, but there are "
            f"{count} devices; on CPUs, --cpu_devices=N makes N"
        )
    if batch_size is not None and batch_size % data_size:
        raise UserError(
            f"config.batch_size: {data_size} data shards do not divide the global batch of "
            f"{batch_size}; choose a multiple of {data_size}, or --cpu_devices=1 on CPUs"
        )
    sizes, names, types = (data_size, model_size), (DATA_AXIS, TOWER_AXIS), (AxisType.Auto,) * 2
    return jax.make_mesh(sizes, names, types, devices=devices)


def _axis_size(section: ConfigDict | None, field: str, default: int) -> int:
    value = "auto" if section is None else str(section[field])
    if value == "auto":
        return default
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"config.mesh.{field}: {value!r} is neither 'auto' nor a positive number")
    return int(value)


def local_rows(mesh: Mesh, global_batch: int) -> np.ndarray:
    """Returns the rows of the global batch that this process reads, ascending: int (rows,).

    Processes that hold different towers of the same data shard divide its rows among them.
    """
    slices = _read_sharding(mesh, global_batch).addressable_devices_indices_map((global_batch,))
    rows = [np.arange(global_batch)[index] for index in slices.values() if index is not None]
    return np.unique(np.concatenate(rows))


def to_devices(mesh: Mesh, batch: Mapping[str, np.ndarray], global_batch: int) -> dict[str, Any]:
    """Makes global arrays (global batch, …), split over the data shards, of this process's rows."""
    sharding = _read_sharding(mesh, global_batch)
    make = functools.partial(jax.make_array_from_process_local_data, sharding)
    arrays = {name: make(rows, (global_batch, *rows.shape[1:])) for name, rows in batch.items()}
    return arrays if sharding.spec == BATCH else _exchange_rows(mesh)(arrays)


def _read_sharding(mesh: Mesh, global_batch: int) -> NamedSharding:
    """How the rows are split when they come from the hosts, each from one process."""
    shared = any(len({device.process_index for device in row}) > 1 for row in mesh.devices)
    divides = shared and global_batch % mesh.size == 0
    return NamedSharding(mesh, jax.P((DATA_AXIS, TOWER_AXIS)) if divides else BATCH)


@functools.cache
def _exchange_rows(mesh: Mesh) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Lets the devices exchange the rows of their data shard."""
    return jax.jit(lambda batch: batch, out_shardings=NamedSharding(mesh, BATCH))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies arrays to every device; all processes must pass the same values."""
    return jax.device_put(tree, NamedSharding(mesh, jax.P()))


def shard_abstract(mesh: Mesh, tree: Any) -> Any:
    """Adds the sharding to a tree of jax.ShapeDtypeStruct, (tower, …) or scalar.

    Scalars are replicated; other arrays are split over the towers.
    """

    def shard(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = PARAMETERS if leaf.ndim else jax.P()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(shard, tree)
