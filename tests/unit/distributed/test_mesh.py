import re

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from src.distributed.mesh import (
    PARAMETERS,
    local_rows,
    make_mesh,
    replicate,
    shard_abstract,
    to_devices,
)
from src.errors import UserError
from tests.support import miniature


def section(**sizes: str) -> ConfigDict:
    return ConfigDict({"data": "auto", "model": "auto", **sizes})


@pytest.mark.parametrize(
    ("towers", "sizes", "shape"),
    [
        (2, {}, (4, 2)),
        (1, {}, (8, 1)),
        (3, {}, (8, 1)),
        (4, {}, (4, 2)),
        (4, {"model": "4"}, (2, 4)),
        (4, {"model": 4}, (2, 4)),
        (2, {"model": "1"}, (8, 1)),
        (2, {"data": "4"}, (4, 2)),
        (2, {"data": "4", "model": "2"}, (4, 2)),
        (8, {"data": "1", "model": "8"}, (1, 8)),
    ],
)
def test_mesh_arranges_all_devices_as_data_and_model(towers, sizes, shape):
    mesh = make_mesh(section(**sizes), towers=towers, batch_size=64)
    assert mesh.axis_names == ("data", "model")
    assert mesh.devices.shape == shape
    assert {device.id for device in mesh.devices.flat} == set(range(8))


def test_without_a_section_both_sizes_are_automatic():
    assert make_mesh(None, towers=2).devices.shape == (4, 2)
    assert make_mesh(None, towers=1, devices=jax.devices()[:3]).devices.shape == (3, 1)


@pytest.mark.parametrize(
    ("towers", "batch", "sizes", "message"),
    [
        (
            2,
            64,
            {"model": "4"},
            "config.mesh.model: 4 devices cannot share 2 towers evenly; choose one of 1, 2",
        ),
        (3, 64, {"model": "3"}, "config.mesh: data 2 × model 3 = 6, but there are 8 devices"),
        (2, 64, {"data": "2"}, "config.mesh: data 2 × model 2 = 4, but there are 8 devices"),
        (2, 64, {"data": "16"}, "config.mesh: data 16 × model 2 = 32, but there are 8 devices"),
        (2, 64, {"data": "two"}, "config.mesh.data: 'two' is neither 'auto' nor a positive number"),
        (16, 64, {"model": "16"}, "config.mesh.model: 16 devices, but there are 8"),
        (2, 64, {"model": "0"}, "config.mesh.model: '0' is neither 'auto' nor a positive number"),
        (2, 64, {"model": "-1"}, "config.mesh.model: '-1' is neither 'auto' nor a positive number"),
        (
            2,
            30,
            {},
            "config.batch_size: 4 data shards do not divide the global batch of 30; choose a",
        ),
    ],
)
def test_invalid_sizes_are_rejected(towers, batch, sizes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make_mesh(section(**sizes), towers=towers, batch_size=batch)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (4, 2), (8, 1)])
def test_single_process_holds_all_rows(shape):
    np.testing.assert_array_equal(local_rows(miniature.mesh(*shape), 16), np.arange(16))


def test_batches_are_split_over_data_shards_and_replicated_over_towers():
    rows = np.random.default_rng(0).integers(0, 256, (12, 5, 3), dtype=np.uint8)
    mesh = miniature.mesh(4, 2)
    on_devices = to_devices(mesh, {"image": rows}, 12)["image"]
    assert on_devices.dtype == np.uint8
    np.testing.assert_array_equal(on_devices, rows)
    held = {shard.device: np.asarray(shard.data) for shard in on_devices.addressable_shards}
    for data_shard, devices in enumerate(mesh.devices):
        for device in devices:
            np.testing.assert_array_equal(held[device], rows[3 * data_shard : 3 * data_shard + 3])


def test_every_device_holds_the_full_replicated_array():
    mesh = miniature.mesh(2, 2)
    statistics = miniature.statistics()
    replicated = replicate(mesh, statistics)
    assert type(replicated) is type(statistics)
    for array, expected in zip(replicated, statistics, strict=True):
        assert array.sharding.device_set == set(mesh.devices.flat)
        for shard in array.addressable_shards:
            np.testing.assert_array_equal(shard.data, expected)
    assert len(jax.devices()) == 8


def test_parameters_are_split_over_towers_and_scalars_replicated():
    mesh = miniature.mesh(2, 2)
    tree = {"step": jax.ShapeDtypeStruct((), "int32"), "bias": jax.ShapeDtypeStruct((2, 5), "f4")}
    sharded = shard_abstract(mesh, tree)
    assert sharded["step"].sharding == NamedSharding(mesh, jax.P())
    assert sharded["bias"].sharding == NamedSharding(mesh, PARAMETERS)
    assert sharded["bias"].shape == (2, 5)
