"""Recipes compute what they always did: to the bit on one device of a machine that recorded it."""

import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from tests.support import golden

FAST = {("paper_64", "1x1"), ("cifar_18pct", "2x2")}
EXPECTED = json.loads(golden.FILE.read_text())


CASES = [
    pytest.param(recipe, mesh, marks=() if (recipe, mesh) in FAST else pytest.mark.slow)
    for recipe in golden.RECIPES
    for mesh in golden.MESHES
]


@pytest.fixture(scope="module", autouse=True)
def optimizations() -> Iterator[None]:
    """The numbers are those of optimized programs, also where other tests do without."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize(("recipe", "mesh"), CASES)
def test_a_recipe_computes_the_recorded_numbers(recipe: str, mesh: str) -> None:
    actual, case = golden.numbers(recipe, mesh), f"{recipe} {mesh}"
    if mesh == "1x1" and golden.here() in EXPECTED:
        assert actual == EXPECTED[golden.here()][case]
    for machine in EXPECTED.values():
        expected = machine[case]
        assert_close(actual["metrics"][0], expected["metrics"][0], 1e-4)
        assert_close(
            {name: value for name, value in actual.items() if name != "checksum"},
            {name: value for name, value in expected.items() if name != "checksum"},
            1e-2,
        )


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), actual, expected
    )
