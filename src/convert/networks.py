"""The published networks that files of weights are of.

Weights of one fit into others that compute something else with them: shapes don't tell the order
of pooling and normalization, or how much a layer pads.
"""

from collections.abc import Sequence
from dataclasses import asdict

from ml_collections import ConfigDict

from ..errors import UserError
from ..models.architecture import TRAINING_FIELDS
from ..models.presets import BVLC, CAFFENET, TORCHVISION
from ..runs.config import differences

RECIPES = {
    "configs/torchvision.py": TORCHVISION,
    "configs/bvlc_alexnet.py": BVLC,
    "configs/caffenet.py": CAFFENET,
}
# What shapes do tell: `layout.to_towers` compares them.
OF_SHAPES = ("maps", "size", "units", "image_size", "towers")


def check(model: ConfigDict, recipes: Sequence[str]) -> None:
    """Raises UserError unless a recipe's network computes what one of some in `RECIPES` does."""
    differing = [_differing(model, recipe) for recipe in recipes]
    if all(differing):
        nearest = min(differing, key=lambda fields: len(fields))
        raise UserError(
            f"--config: its network is not the weights': {'; '.join(nearest)}; "
            f"give {' or '.join(f'--config={recipe}' for recipe in recipes)}"
        )


def _differing(model: ConfigDict, recipe: str) -> list[str]:
    return [
        f"{name} is {ours!r}, theirs {theirs!r}"
        for name, ours, theirs in differences(model, ConfigDict(asdict(RECIPES[recipe])))
        if name.rpartition(".")[-1] not in (*TRAINING_FIELDS, *OF_SHAPES)
    ]
