"""The page of docs/ that is generated, and the commands that the docs name."""

import importlib
import importlib.util
import re
import runpy
import shlex
from pathlib import Path

import pytest

from src.runs.config import flatten
from src.runs.defaults import default_config

PAGE = Path("docs/configuration.md")
REMOVED = {"benchmarks.report", "benchmarks.retrieval"}
"""Commands of which the docs say that they have been removed."""


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


def commands() -> list[list[str]]:
    """The commands `python -m MODULE …` and `launch/run.sh …` of the docs, without "…"."""
    pages = [Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").glob("*.md")]
    text = "\n".join(page.read_text().replace("\\\n", " ") for page in pages)
    text = text.replace("launch/run.sh ", "python -m src.main ")
    found = re.findall(r"python -m ((?:src|benchmarks)\.[^`#\n]*)", text)
    return sorted({tuple(shlex.split(command.partition(" (")[0])) for command in found})


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_in_the_docs_have_their_flags_fields_and_recipes(command: list[str]) -> None:
    module, *arguments = command
    if module in REMOVED:
        return
    spec = importlib.util.find_spec(module)
    assert spec
    if spec.submodule_search_locations:
        module += ".__main__"
    given = [name.replace("…", "PATH") for name in arguments if name not in ("…", "--config=…")]
    if not module.startswith("src."):
        options = "".join(path.read_text() for path in Path("benchmarks").glob("*.py"))
        assert all(name.partition("=")[0] in options for name in given)
    elif given:  # otherwise it is only named
        importlib.import_module(module).FLAGS.parse(given)
