import dataclasses
import math
import re
from dataclasses import replace

import pytest
from ml_collections import ConfigDict

from src.errors import UserError
from src.models import cifar
from src.models.architecture import Architecture, ConvSpec, DenseSpec, NormSpec, PoolSpec
from src.models.presets import PAPER, PRESETS

NETWORKS = PRESETS | cifar.PRESETS


@pytest.mark.parametrize("preset", NETWORKS.values(), ids=NETWORKS)
def test_architecture_is_restored_from_its_fields(preset):
    fields = ConfigDict(dataclasses.asdict(preset)).to_dict()
    again = Architecture.from_config(fields)
    assert again == preset
    assert [*again.convs, *again.dense] == [*preset.convs, *preset.dense]


def test_layers_are_ordered_by_their_numbers():
    convs = {f"conv{i}": ConvSpec(2, 1) for i in range(1, 12)}
    dense = {"fc12": DenseSpec()}
    deep = replace(PAPER, convs=convs, dense=dense, exchange_before=(), image_size=8)
    fields = ConfigDict(dataclasses.asdict(deep)).to_dict()
    assert list(Architecture.from_config(fields).convs) == list(convs)
    with pytest.raises(UserError, match="conv2, conv1 are not in the order of their numbers"):
        replace(deep, convs={name: convs[name] for name in ("conv2", "conv1")})


@pytest.mark.parametrize(
    ("image_size", "side"), [(224, 6), (227, 6), (219, 6), (64, 1), (68, 2), (99, 2)]
)
def test_size_of_the_last_maps(image_size, side):
    assert replace(PAPER, image_size=image_size).spatial_sizes()["conv5"][1] == side


def with_conv2(**changes) -> dict:
    return {"convs": {**PAPER.convs, "conv2": replace(PAPER.convs["conv2"], **changes)}}


def with_norm(**changes) -> dict:
    return {"norms": {"lrn": NormSpec(**changes)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"towers": 0}, "config.model.towers: 0 is not between 1"),
        (
            {"pools": {"pool": PoolSpec(stride=0)}},
            "config.model.pools.pool.stride: 0 is not between 1",
        ),
        (
            {"pools": {"pool": PoolSpec(window=2, stride=3)}},
            "config.model.pools.pool: windows of 2 skip positions with a stride of 3",
        ),
        (
            {"pools": {"pool": PoolSpec(kind="mean")}},
            "config.model.pools.pool.kind: 'mean' is not allowed; choose one of max, average",
        ),
        (with_conv2(stride=0), "config.model.convs.conv2.stride: 0 is not between 1 and 1e+06"),
        (with_conv2(size=0), "config.model.convs.conv2.size: 0 is not between 1 and 1e+06"),
        (with_conv2(maps=0), "config.model.convs.conv2.maps: 0 is not between 1 and 1e+06"),
        (
            with_conv2(padding=("a", "b")),
            "config.model.convs.conv2.padding: ('a', 'b') is not two numbers of pixels",
        ),
        (with_conv2(padding=(2,)), "config.model.convs.conv2.padding: (2,) is not two"),
        (with_conv2(padding=(-1, 2)), "config.model.convs.conv2.padding: (-1, 2) is not two"),
        (with_conv2(sigma=math.nan), "config.model.convs.conv2.sigma: nan is not between"),
        ({"input_scale": 0.0}, "config.model.input_scale: 0.0 is not between 1.17549e-38 and"),
        ({"input_scale": math.nan}, "config.model.input_scale: nan is not between"),
        ({"input_scale": 1e-50}, "config.model.input_scale: 1e-50 is not between"),
        (
            with_conv2(maps=10**10),
            "config.model.convs.conv2.maps: 10000000000 is not between 1 and",
        ),
        (with_norm(k=0.0), "config.model.norms.lrn.k: 0.0 is not between"),
        (with_norm(alpha=-1e-4), "config.model.norms.lrn.alpha: -0.0001 is not between"),
        (with_norm(beta=math.inf), "config.model.norms.lrn.beta: inf is not between 0 and"),
        ({"dropout": 1.0}, "config.model.dropout: 1.0 is not between 0 and 0.999999"),
        ({"dropout": -0.5}, "config.model.dropout: -0.5 is not between 0 and 0.999999"),
        ({"towers": 5}, "config.model.towers: 5 towers cannot share the 96 maps of conv1"),
        ({"towers": 3}, "config.model.towers: 3 towers cannot share the 256 maps of conv2"),
        (
            {"exchange_before": ("conv6",)},
            "config.model.exchange_before: 'conv6' is not allowed; choose one of conv2, conv3",
        ),
        (
            {"exchange_before": ("fc8", "conv1")},
            "config.model.exchange_before: 'conv1' is not allowed; choose one of conv2",
        ),
        (
            {"activation": "gelu"},
            "config.model.activation: 'gelu' is not allowed; choose one of relu, tanh",
        ),
        (
            {"init": "xavier"},
            "config.model.init: 'xavier' is not allowed; choose one of gaussian, he",
        ),
        (
            with_conv2(followed_by=("activation", "norm")),
            "config.model.convs.conv2.followed_by: 'norm' is not allowed; "
            "choose one of activation, pool, lrn",
        ),
        (
            {"norms": {"lrn": NormSpec(across="channels")}},
            "config.model.norms.lrn.across: 'channels' is not allowed; choose one of maps, spatial",
        ),
        (
            {"norms": {"lrn": NormSpec(n=4)}},
            "config.model.norms.lrn.n: a window of 4 has no middle",
        ),
        ({"image_size": 32}, "config.model.image_size: 32 pixels are too few"),
    ],
)
def test_invalid_field_is_refused_with_its_value(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        replace(PAPER, **changes)
