"""What the devices say to one another in one step of the paper's network, as XLA compiles it."""

import functools
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from configs.alexnet import paper
from src.data.statistics import Statistics
from src.distributed.mesh import BATCH
from src.training.state import abstract_state
from src.training.step import make_train_step
from tests.support import miniature

BATCH_SIZE = 2
PARAMETERS = 60_965_224
BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1, "u8": 1}
LARGE = 1000  # bytes; what is smaller are sums of losses, errors and norms


class Collective(NamedTuple):
    kind: str
    shapes: list[tuple[int, ...]]  # of what each device has afterwards
    bytes: int
    devices: int  # that talk to one another


def group_size(attributes: str) -> int:
    """How many devices talk to one another, in any of the three ways that XLA writes groups."""
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):  # {{0,1},{2,3}}
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes):  # [2,2]<=[4]
        return int(match[1])
    # mesh['axis_0'=2,'axis_1'=2] {'axis_0'}
    (match,) = re.finditer(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", attributes)
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))


def collectives(hlo: str) -> list[Collective]:
    """Those between devices: XLA leaves some sums over groups of one, which move nothing."""
    pattern = re.compile(
        r" = (?P<result>.*?) (?P<kind>all-gather|all-reduce|reduce-scatter|all-to-all"
        r"|collective-permute|collective-broadcast|ragged-all-to-all)(-start)?\((?P<rest>.*)"
    )
    found = []
    for line in hlo.splitlines():
        if not (match := pattern.search(line)):
            continue
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", match["result"])
        shapes = [tuple(map(int, dims.split(","))) if dims else () for _, dims in arrays]
        size = sum(BYTES[kind] * math.prod(s) for (kind, _), s in zip(arrays, shapes, strict=True))
        found.append(Collective(match["kind"], shapes, size, group_size(match["rest"])))
    assert found
    return [collective for collective in found if collective.devices > 1]


@functools.cache
def of_the_papers_step(data: int, model: int) -> list[Collective]:
    config = paper("none")
    config.batch_size = BATCH_SIZE
    mesh = miniature.mesh(data, model)

    def array(shape: tuple[int, ...], dtype: str, spec: jax.P = BATCH) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=NamedSharding(mesh, spec))

    crop, size = config.model.image_size, config.data.size
    batch = {
        "image": array((BATCH_SIZE, crop, crop, 3), "uint8"),
        "label": array((BATCH_SIZE,), "int32"),
        "offset": array((BATCH_SIZE, 2), "int32"),
        "flip": array((BATCH_SIZE,), "bool"),
    }
    whole = jax.P()
    statistics = Statistics(
        array((size, size, 3), "float32", whole),
        array((3,), "float32", whole),
        array((3, 3), "float32", whole),
    )
    step = make_train_step(config, 1000, mesh)
    lowered = step.lower(abstract_state(config, 1000, mesh), batch, statistics, 0.01)
    return collectives(lowered.compile().as_text())


def of_kind(kind: str, found: list[Collective]) -> list[Collective]:
    return [collective for collective in found if collective.kind == kind]


def test_two_towers_exchange_maps_before_conv3_fc6_fc7_and_fc8():
    gathers = of_kind("all-gather", of_the_papers_step(1, 2))
    assert sorted(shape for gather in gathers for shape in gather.shapes) == [
        (BATCH_SIZE, 13, 13, 256),
        (BATCH_SIZE, 4096),
        (BATCH_SIZE, 4096),
        (BATCH_SIZE, 9216),
    ]
    own_half = sum(gather.bytes for gather in gathers) / 2
    assert own_half == 4 * 30_336 * BATCH_SIZE


def test_two_towers_return_the_gradients_of_the_same_maps():
    scatters = of_kind("reduce-scatter", of_the_papers_step(1, 2))
    assert sorted(shape for scatter in scatters for shape in scatter.shapes) == [
        (BATCH_SIZE, 13, 13, 128),
        (BATCH_SIZE, 2048),
        (BATCH_SIZE, 2048),
        (BATCH_SIZE, 4608),
    ]
    assert sum(scatter.bytes for scatter in scatters) == 4 * 30_336 * BATCH_SIZE


def test_two_towers_exchange_nothing_else_of_any_size():
    found = of_the_papers_step(1, 2)
    large = [collective.kind for collective in found if collective.bytes > LARGE]
    assert sorted(large) == ["all-gather"] * 4 + ["reduce-scatter"] * 4
    assert {collective.devices for collective in found} == {2}


def test_two_data_shards_reduce_gradients_and_nothing_else_of_any_size():
    found = of_the_papers_step(2, 1)
    assert {collective.kind for collective in found} == {"all-reduce"}
    gradients = [collective for collective in found if collective.bytes > LARGE]
    assert sum(collective.bytes for collective in gradients) == pytest.approx(
        4 * PARAMETERS, abs=LARGE
    )
    assert sum(collective.bytes for collective in found) < 4 * PARAMETERS + LARGE
