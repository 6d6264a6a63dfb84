"""No field of a configuration is dead."""

import ast
import dataclasses
import functools
import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from src.errors import UserError
from src.models.alexnet import AlexNet
from src.models.architecture import Architecture
from src.models.presets import CHM145, PRESETS
from src.runs.config import flatten
from src.training.validation import validate_config
from tests.support import tiny

SOURCES = [*Path(__file__).parents[3].glob("src/**/*.py")]


def leaves(fields: dict[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found |= leaves(value, (*prefix, name))
        else:
            found[*prefix, name] = value
    return found


@functools.cache
def names_read() -> set[str]:
    """Attributes that some module reads, and parameters, which the linter finds if unused."""
    trees = [ast.walk(ast.parse(path.read_text())) for path in SOURCES]
    nodes = [node for tree in trees for node in tree]
    attributes = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    return attributes | {node.arg for node in nodes if isinstance(node, ast.arg)}


def test_every_field_of_a_recipe_is_read() -> None:
    fields = tiny.get_config().to_dict()
    del fields["model"]
    assert not {path for path in leaves(fields) if path[-1] not in names_read()}


OTHERS = {
    "exchange_before": [("conv2", "conv3", "fc6", "fc7", "fc8")],
    "activation": ["tanh"],
    "init": ["he"],
    "dropout_scaling": ["training"],
    "across": ["spatial", "maps"],
    "kind": ["average"],
    "local": [True],
    "stride": [1, 3],
    "followed_by": [("pool",)],
    "padding": [(1, 2)],
    "enabled": [False],
}


def changed(name: str, value: Any) -> Any:
    if name in OTHERS:
        return next(other for other in OTHERS[name] if other != value)
    return value + 2 if isinstance(value, int) else value + 0.125


def fingerprint(fields: dict[str, Any]) -> str:
    """All that the fields lead to: the initial parameters' law and the program."""
    architecture = Architecture.from_config(fields)

    def program(key: jax.Array, images: jax.Array) -> jax.Array:
        model = AlexNet(4, architecture, rngs=nnx.Rngs(key))
        return model.logits(images, jax.random.split(jax.random.key(0), len(images)))

    images = jnp.zeros((1, architecture.image_size, architecture.image_size, 3))
    return str(jax.make_jaxpr(program)(jax.random.key(0), images))


def small_architecture() -> dict[str, Any]:
    fields = dataclasses.asdict(CHM145)
    fields["image_size"] = 387
    for spec in fields["convs"].values():
        spec["maps"] = 4
    for name in ("fc6", "fc7"):
        fields["dense"][name]["units"] = 4
    return fields


OF_CLASSES = ("dense", "fc8", "units")  # not to be set: as many as there are classes


@pytest.mark.parametrize(
    "path", [path for path in leaves(small_architecture()) if path != OF_CLASSES], ids=".".join
)
def test_every_field_of_the_network_matters(path: tuple[str, ...]) -> None:
    before = fingerprint(small_architecture())
    fields = small_architecture()
    *parents, name = path
    part = fields
    for parent in parents:
        part = part[parent]
    part[name] = changed(name, part[name])
    assert fingerprint(fields) != before


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_unchanged_by_a_configuration(preset: Architecture) -> None:
    assert Architecture.from_config(dataclasses.asdict(preset)) == preset


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("log_every", 0),
        ("checkpoint_every", "often"),
        ("schedule.learning_rate", -0.1),
        ("schedule.learning_rate", 1e-50),  # 0 in the arrays' type
        ("schedule.boundaries", (1, 2)),
        ("schedule.factor", 1.0),
        ("optimizer.momentum", 1.0),
        ("optimizer.name", "adam"),
        ("batch_size", 10**10),
        ("views", 3),
        ("data.root", "gs://bucket/prepared"),
        ("seed", 2**32),  # JAX would take it for 0
    ],
)
def test_value_without_a_meaning_is_rejected(field: str, value: Any) -> None:
    config = tiny.get_config()
    config.update_from_flattened_dict({field: value})
    offending = value[0] if isinstance(value, tuple) else value
    with pytest.raises(UserError, match=rf"config\.{field}: .*{re.escape(str(offending))}"):
        validate_config(config)


FLOATS = [field for field, value in flatten(tiny.get_config()).items() if isinstance(value, float)]


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("field", FLOATS)
def test_float_that_is_not_finite_is_rejected(field: str, value: float) -> None:
    config = tiny.get_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=rf"config\.{field}: {value}"):
        validate_config(config)
