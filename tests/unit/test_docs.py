"""The page of docs/ that is generated."""

import runpy
from pathlib import Path

from src.runs.config import flatten
from src.runs.defaults import default_config

PAGE = Path("docs/configuration.md")


def test_the_configuration_page_is_the_generated_one() -> None:
    assert PAGE.read_text() == runpy.run_path("docs/configuration.py")["page"]()


def test_the_configuration_page_explains_every_field() -> None:
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines()]
    explained = {cells[0].strip("`") for cells in lines if len(cells) == 3 and len(cells[2]) > 5}
    examples = {
        "convs.conv": "convs.",
        "dense.fc": "dense.",
        "norms.lrn": "norms.",
        "pools.pool": "pools.",
    }
    for field in flatten(default_config()):
        for example, section in examples.items():
            start, found, end = field.partition(example)
            if found:
                field = f"{start}{section}NAME.{end.partition('.')[2]}"
        assert field in explained
