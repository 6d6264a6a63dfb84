from dataclasses import asdict, replace

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import alexnet, cifar, small
from src.cli.app import run_command
from src.figures import layers, network
from src.figures.__main__ import FLAGS, main
from src.models.alexnet import AlexNet
from src.models.architecture import Architecture
from src.models.cifar import PRESETS as CIFAR
from src.models.presets import PRESETS
from tests.support import tiny

PARAMETERS = {"paper": 60_965_224, "chm145": 60_965_224, "one_gpu": 59_798_312}
PARAMETERS |= {"torchvision": 61_100_840, "80sec": 145_578, "19pct": 89_578}
PARAMETERS |= {"conv-local-13pct": 1_116_490, "conv-local-11pct": 2_112_970}
EXCHANGES = {"paper": 4, "chm145": 4, "torchvision": 7}
ALL = {**PRESETS, **CIFAR}


def describe(name: str) -> layers.Network:
    return layers.describe(ALL[name], 1000 if name in PRESETS else 10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_figure_shows_every_layer_and_its_parameters(name: str):
    net = describe(name)
    assert net.parameters == PARAMETERS[name]
    assert [layer.name for layer in net.layers] == [*ALL[name].convs, *ALL[name].dense]
    for vertical in (False, True):
        figure = network.inline(net, vertical=vertical)
        for layer in net.layers:
            assert f">{layer.name}</text>" in figure
            assert f">{layer.parameters:,}{' parameters' * vertical}</text>" in figure
            assert layer.received == 0 or f">{layer.received:,} cross</text>" in figure
        exchanges = EXCHANGES.get(name, 0)
        assert figure.count("← all towers") == exchanges
        crossing = figure.count("stroke: var(--accent)")
        assert crossing == 2 * exchanges if vertical else (crossing > 0) == (exchanges > 0)
        assert ("tower 2" in figure) == (net.towers > 1)


def test_the_papers_network_matches_the_figure_of_the_paper():
    layers = {layer.name: layer for layer in describe("paper").layers}
    assert {name: layer.parameters for name, layer in layers.items()} == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }
    assert layers["conv1"].preactivation == (55, 55, 48)
    assert layers["conv1"].output == layers["conv2"].input == (27, 27, 48)
    assert layers["conv3"].input == (13, 13, 256)
    assert layers["conv5"].output == (6, 6, 128)
    assert layers["fc6"].input == (9216,)
    assert layers["fc8"].preactivation == (500,)
    assert {name: layer.received for name, layer in layers.items() if layer.received} == {
        "conv3": 13 * 13 * 128,
        "fc6": 6 * 6 * 128,
        "fc7": 2048,
        "fc8": 2048,
    }
    dropped = [name for name, layer in layers.items() if "dropout 0.5" in layer.operations]
    assert dropped == ["fc6", "fc7"]
    assert describe("paper").sent == 30_336
    assert describe("one_gpu").sent == 0
    # In Caffe's networks, normalization needs the other tower's maps, before or after pooling.
    assert describe("bvlc").sent == 30_336 + 55 * 55 * 48 + 27 * 27 * 128
    assert f">{55 * 55 * 48:,} cross<" in network.inline(describe("bvlc"), vertical=True)
    assert describe("caffenet").sent == 30_336 + 27 * 27 * 48 + 13 * 13 * 128


def test_one_tower_exchanges_no_values_for_normalization():
    net = layers.describe(replace(ALL["bvlc"], towers=1), 1000)
    assert net.sent == 0
    assert "cross" not in network.inline(net, vertical=True)


@pytest.mark.parametrize("name", ["chm145", "conv-local-11pct"])
def test_shapes_match_computed_activations(name: str):
    fields = ALL[name]
    reduced = Architecture(
        **{
            **{field: getattr(fields, field) for field in fields.__dataclass_fields__},
            "image_size": fields.image_size if fields.towers == 1 else 99,
        }
    )
    model = AlexNet(10, reduced, rngs=nnx.Rngs(0))
    images = np.zeros((1, reduced.image_size, reduced.image_size, 3), np.float32)
    computed = {name: x[0].shape[1:] for name, x in model.activations(images).items()}
    described = layers.describe(reduced, 10)
    assert {layer.name: layer.output for layer in described.layers} == computed
    assert described.parameters == sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (alexnet.get_config("imagenet2012"), "AlexNet (paper)"),
        (small.get_config(), "AlexNet (paper)"),
        (tiny.get_config(), "AlexNet (paper), varied"),
        (cifar.get_config("19pct-translations"), "cuda-convnet's 19pct"),
    ],
)
def test_published_name_is_the_nearest_published_network(config: ConfigDict, name: str):
    assert layers.published_name(config.model) == name


def test_every_published_network_has_its_own_name():
    for name, preset in layers.PUBLISHED.items():
        assert layers.published_name(ConfigDict(asdict(preset))) == name


@pytest.mark.parametrize("number", [-5, 0])
def test_a_network_without_classes_is_refused(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, FLAGS, None, ["--config=small", f"--classes={number}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"--classes={number}: {number} is not a positive integer")
