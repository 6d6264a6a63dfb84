import dataclasses
import re
from dataclasses import replace

import pytest
from ml_collections import ConfigDict

from src.errors import UserError
from src.models.presets import PAPER, PRESETS, Architecture, NormSpec


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_an_architecture_survives_being_written_as_fields(preset):
    fields = ConfigDict(dataclasses.asdict(preset)).to_dict()
    assert Architecture.from_fields(fields) == preset


@pytest.mark.parametrize(
    ("image_size", "side"), [(224, 6), (227, 6), (223, 5), (64, 1), (67, 1), (99, 2)]
)
def test_side_of_the_last_maps(image_size, side):
    assert replace(PAPER, image_size=image_size).final_side() == side


def with_conv2(**changes) -> dict:
    return {"convs": {**PAPER.convs, "conv2": replace(PAPER.convs["conv2"], **changes)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"towers": 0}, "config.model.towers: 0 is not positive"),
        ({"pool_stride": 0}, "config.model.pool_stride: 0 is not positive"),
        ({"pool_window": -1}, "config.model.pool_window: -1 is not positive"),
        (with_conv2(stride=0), "config.model.convs.conv2.stride: 0 is not positive"),
        (with_conv2(size=0), "config.model.convs.conv2.size: 0 is not positive"),
        (with_conv2(maps=0), "config.model.convs.conv2.maps: 0 is not positive"),
        ({"dropout": 1.0}, "config.model.dropout: 1.0 is no probability of less than 1"),
        ({"dropout": -0.5}, "config.model.dropout: -0.5 is no probability of less than 1"),
        ({"towers": 5}, "config.model.towers: 5 don't divide the 96 maps of conv1"),
        ({"towers": 3}, "config.model.towers: 3 don't divide the 256 maps of conv2"),
        (
            {"exchange_before": ("conv6",)},
            "config.model.exchange_before: 'conv6' is none of conv2, conv3",
        ),
        (
            {"exchange_before": ("fc8", "conv1")},
            "config.model.exchange_before: 'conv1' is none of conv2",
        ),
        ({"activation": "gelu"}, "config.model.activation: 'gelu' is none of relu, tanh"),
        ({"init": "xavier"}, "config.model.init: 'xavier' is none of gaussian, he"),
        (
            with_conv2(then=("activation", "norm")),
            "config.model.convs.conv2.then: 'norm' is none of activation, pool, lrn",
        ),
        (
            {"norms": {"lrn": NormSpec(across="channels")}},
            "config.model.norms.lrn.across: 'channels' is none of maps, places",
        ),
        (
            {"norms": {"lrn": NormSpec(n=4)}},
            "config.model.norms.lrn.n: a window of 4 has no middle",
        ),
        ({"image_size": 32}, "config.model.image_size: 32 pixels are too few"),
    ],
)
def test_fields_that_make_no_network_are_named_with_their_value(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        replace(PAPER, **changes)
