"""The descriptions of GPUs: numbers that follow from each other, and published speeds."""

import tomllib
from typing import Any

import pytest

from src.plan import gpu

SAME_CHIPS = {"v100_sxm3_32gb": "v100", "a100_pcie_40gb": "a100", "a100_sxm4_40gb": "a100"}


def fields(key: str) -> dict[str, Any]:
    return tomllib.loads((gpu.DIRECTORY / f"{key}.toml").read_text())


@pytest.mark.parametrize("key", gpu.known())
def test_float32_peak_is_two_operations_of_each_unit_a_cycle(key: str) -> None:
    card = fields(key)
    units = card["multiprocessors"] * card["fp32_units_per_multiprocessor"]
    peak = 2 * units * card["clock_ghz"] / 1000
    assert card["teraflops"]["float32"] == pytest.approx(peak, rel=0.01)


@pytest.mark.parametrize(("key", "other"), SAME_CHIPS.items())
def test_cards_of_one_chip_differ_in_clock_memory_and_links_alone(key: str, other: str) -> None:
    card, same_chip = fields(key), fields(other)
    differing = {name for name in card if card[name] != same_chip.get(name)}
    assert differing <= {
        "name", "source", "published", "clock_ghz", "memory_gb", "memory_gb_per_s", "teraflops",
        "nvlink_gb_per_s", "network_gbit_per_s",
    }  # fmt: skip
    clock = card["clock_ghz"] / same_chip["clock_ghz"]
    expected = {dtype: clock * peak for dtype, peak in same_chip["teraflops"].items()}
    assert card["teraflops"] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("key", [key for key in gpu.known() if gpu.load(key).published])
def test_several_gpus_are_published_with_one_and_are_hardly_faster_than_so_many(key: str) -> None:
    speeds = {
        (row["dtype"], row["images_per_gpu"], row["gpus"]): row["images_per_second"]
        for row in gpu.load(key).published
    }
    for (dtype, images, gpus), speed in speeds.items():
        assert 0.7 < speed / gpus / speeds[dtype, images, 1] < 1.02
