"""The experiments of configs/experiments, and what an experiment may not be."""

import importlib
import sys

import pytest
from absl.flags import FlagValues
from ml_collections import ConfigDict, config_flags

from src.errors import UserError
from src.experiment.spec import changed, comparison, validate_experiment
from src.runs.config import differences
from tests.support import tiny

CROPS = {"augment.shift", "augment.mirror"}
INVERTED = {"model.dropout", "model.dropout_scaling"}
DIFFERENCES = {  # of each variant from the first
    "augmentation": [CROPS, {"augment.mirror"}, {"augment.shift"}, CROPS | {"augment.color"}],
    "dropout": [{"model.dropout"}, INVERTED],
    "dropout_iterations": [{"model.dropout", "duration"}, INVERTED | {"duration"}],
    "ensemble": [],
    "lrn": [{"model.norms.lrn.enabled"}],
    "overlapping_pooling": [{"model.pools.max.window", "model.pools.average.window"}],
    "relu_vs_tanh": [{"model.activation", "duration"}],
    "schedule": [{"schedule.name"}],
}


def get_config(name: str, dataset: str = "digits") -> ConfigDict:
    return importlib.import_module(f"configs.experiments.{name}").get_config(dataset)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_variants_differ_only_in_the_compared_fields(name: str) -> None:
    config = get_config(name, "cifar10")
    first, *others = (config.variants[variant] for variant in config.order)
    changes = [{field for field, *_ in differences(first, other)} for other in others]
    assert changes == DIFFERENCES[name]


@pytest.mark.parametrize("name", ["dropout", "dropout_iterations"])
def test_each_form_of_dropout_has_its_own_learning_rate(name: str) -> None:
    config = get_config(name, "cifar10")
    forms = [recipe.model.dropout_scaling for recipe in config.variants.values()]
    assert dict(zip(config.order, forms, strict=True)) == {
        "without": "test", "original": "test", "inverted": "training",
    }  # fmt: skip
    rate = config.variants.inverted.schedule.learning_rate
    keep = 1 - config.variants.inverted.model.dropout
    for name in config.order:
        assert {rate, rate / keep**2} <= set(config.rates[name])


def test_tower_variants_differ_only_in_width_or_connections() -> None:
    variants = get_config("towers", "imagenette").variants
    paper = variants["two, the paper's"]
    changes = {
        name: {field for field, *_ in differences(paper, recipe)}
        for name, recipe in variants.items()
    }
    maps = {f"model.convs.conv{layer}.maps" for layer in (1, 2, 3, 4)}
    assert changes == {
        "one of half width": {"model.towers"} | maps,
        "two, unconnected": {"model.exchange_before"},
        "two, the paper's": set(),
        "two, all connected": {"model.exchange_before", "model.norms.lrn.across"},
    }
    half = variants["one of half width"].model.convs
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        assert 2 * half[layer].maps == paper.model.convs[layer].maps


@pytest.mark.parametrize("name", [*DIFFERENCES, "towers", "cifar_networks"])
def test_digits_are_a_smoke_test_unless_they_can_show_the_claim(name: str) -> None:
    digits = get_config(name)
    assert digits.smoke == (name != "ensemble")
    assert {recipe.duration for recipe in digits.variants.values()} == {
        "8 steps" if digits.smoke else "10 epochs"
    }
    if digits.smoke:
        assert all(len(rates) <= 2 for rates in digits.rates.values())
    assert not get_config(name, "cifar10").smoke


def test_augmentation_variants_are_tested_on_the_center_view() -> None:
    variants = get_config("augmentation", "cifar10").variants
    assert [recipe.views for recipe in variants.values()] == [1] * 5


def test_changed_does_not_modify_the_recipe() -> None:
    recipe = tiny.get_config()
    assert changed(recipe, {"model.convs.conv1.maps": 16}).model.convs.conv1.maps == 16
    assert recipe.model.convs.conv1.maps == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("order=('ReLU','tan')", "config.order: 'tan' is not one of ReLU, tanh"),
        ("order=()", "config.order: must not be empty"),
        ("order=([1],)", "config.order: [1] is not one of ReLU, tanh"),
        ("order=('ReLU','ReLU')", "config.order: ReLU, ReLU has a value twice"),
        ("seeds=1,-1", "config.seeds: -1 is not an integer from 0 to 2^32 - 1"),
        ("seeds=1,1", "config.seeds: 1, 1 has a value twice"),
        ("seeds=a", "config.seeds: 'a' is not an integer from 0 to 2^32 - 1"),
        ("seeds=0.5", "config.seeds: 0.5 is not an integer from 0 to 2^32 - 1"),
        ("seeds=4294967296", "config.seeds: 4294967296 is not an integer from 0 to 2^32 - 1"),
        ("seeds=True", "config.seeds: True is not an integer from 0 to 2^32 - 1"),
        ("rates.tanh=-1,0.1", "config.rates.tanh: -1 is not a positive number"),
        ("rates.tanh=0", "config.rates.tanh: 0 is not a positive number"),
        ("rates.tanh=1e999", "config.rates.tanh: inf is not a positive number"),
        ("rates.tanh=()", "config.rates.tanh: must not be empty"),
        ("rates.tanh=0.001,0.0010000001", "config.rates.tanh: 0.001, 0.001 has a value twice"),
        ("reference.tanh=rleu", "config.reference.tanh: 'rleu' is not another variant"),
        ("reference.tanh=tanh", "config.reference.tanh: 'tanh' is not another variant"),
        ("rates.tanh=", "config.rates.tanh: '' is not a positive number"),
        (
            "search=foo",
            "config.search: 'foo' is not a duration; write it like '90 epochs' or '1000 steps'",
        ),
        (
            "target_training_error=1",
            "config.target_training_error: 1.0 is not at least 0 and below 1",
        ),
        (
            "target_training_error=-0.1",
            "config.target_training_error: -0.1 is not at least 0 and below 1",
        ),
        ("variants.ReLU.views=5", "config.views: 5 is not allowed; choose one of 1, 9, 10"),
    ],
)
def test_invalid_values_are_reported(
    change: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = get_config("relu_vs_tanh")
    flags = FlagValues()
    monkeypatch.setattr(sys, "argv", ["", f"--config.{change}"])
    config_flags.DEFINE_config_dict("config", config, flag_values=flags)
    flags(sys.argv)
    with pytest.raises(UserError) as error:
        validate_experiment(config)
    assert str(error.value) == message


def test_comparison_rejects_unknown_options() -> None:
    with pytest.raises(TypeError, match="no option refrence"):
        comparison("It works", {"plain": tiny.get_config()}, refrence={})


@pytest.mark.parametrize("field", ["rates", "published", "reference"])
def test_values_of_unknown_variants_are_reported(field: str) -> None:
    config = comparison("It works", {"plain": tiny.get_config()}, **{field: {"plian": (0.1,)}})
    with pytest.raises(UserError) as error:
        validate_experiment(config)
    assert str(error.value) == f"config.{field}: 'plian' is not one of plain"
