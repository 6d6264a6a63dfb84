"""Recipes compute what they always did: to the bit on one device of the machine that wrote it."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from tests.support import golden

EXPECTED = json.loads(golden.FILE.read_text())


@pytest.mark.parametrize("mesh", golden.MESHES)
@pytest.mark.parametrize("recipe", golden.RECIPES)
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
