"""The lines that tell what a run is."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import pytest

from configs import cifar, small
from src.data.dataset import PreparedDataset
from src.training.description import describe_run
from src.training.periods import Periods
from tests.support import miniature

DATA = cast(
    PreparedDataset,
    SimpleNamespace(
        class_names=[str(i) for i in range(10)],
        num_examples={"train": 1437, "test": 360},
        train_split="train",
        eval_split="test",
    ),
)
PERIODS = Periods(Fraction(1437, 64), 45, Fraction(10), Fraction(10), 5)


def described(config: Any, shape: tuple[int, int], step: int = 0) -> dict[str, str]:
    text = describe_run(config, DATA, miniature.mesh(*shape), PERIODS, step)
    assert max(map(len, text.splitlines())) < 80
    lines = text.replace("\n" + " " * 10, " ").splitlines()
    return {line[:10].strip(): line[10:] for line in lines}


@pytest.mark.parametrize(
    ("shape", "devices"),
    [
        ((1, 1), "1 × cpu, mesh 1 × 1 (data × model), both towers on each"),
        (
            (1, 2),
            "2 × cpu, mesh 1 × 2 (data × model), tower 1 on device 0, tower 2 on device 1",
        ),
        (
            (4, 2),
            "8 × cpu, mesh 4 × 2 (data × model), tower 1 on devices 0, 2, 4, 6, "
            "tower 2 on devices 1, 3, 5, 7",
        ),
    ],
)
def test_each_tower_has_its_devices(shape: tuple[int, int], devices: str) -> None:
    assert described(small.get_config("digits"), shape)["devices"] == devices


def test_network_images_and_steps_are_counted() -> None:
    lines = described(small.get_config("digits"), (1, 2), step=24)
    assert lines["network"] == "2 towers, 20,209,034 parameters, crops of 64 pixels, float32"
    assert lines["images"] == "digits: 1,437 to train, 360 to evaluate (test), 10 classes"
    assert lines["training"] == "45 steps of 64 images, 2.004 epochs; resumes after step 24"


def test_network_of_one_tower_says_so() -> None:
    lines = described(cifar.get_config("18pct"), (2, 1))
    assert lines["network"].startswith("1 tower, ")
    assert lines["devices"] == "2 × cpu, mesh 2 × 1 (data × model), 1 tower on each"
