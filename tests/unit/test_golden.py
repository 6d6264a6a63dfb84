"""Recipes compute what they always did: to the bit on one device of the machine that wrote it."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from tests.support import golden

FAST = {("paper_64", "1x1"), ("chm145", "1x1"), ("cifar_18pct", "2x2")}
EXPECTED = json.loads(golden.FILE.read_text())


CASES = [
    pytest.param(recipe, mesh, marks=() if (recipe, mesh) in FAST else pytest.mark.slow)
    for recipe in golden.RECIPES
    for mesh in golden.MESHES
]


@pytest.mark.parametrize(("recipe", "mesh"), CASES)
def test_a_recipe_computes_what_it_did(recipe: str, mesh: str) -> None:
    found, expected = golden.numbers(recipe, mesh), EXPECTED[f"{recipe} {mesh}"]
    if mesh == "1x1" and golden.here() == EXPECTED["here"]:
        assert found == expected
    assert_close(found["metrics"][0], expected["metrics"][0], 1e-4)
    assert_close(
        {name: value for name, value in found.items() if name != "checksum"},
        {name: value for name, value in expected.items() if name != "checksum"},
        1e-2,
    )


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), found, expected
    )
