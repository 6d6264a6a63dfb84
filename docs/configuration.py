"""Writes docs/configuration.md, the table of all fields of a recipe: python docs/configuration.py.

Names, defaults and meanings come from the source of `src/runs/defaults.py` and of the dataclasses
in `src/models/architecture.py`.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from src.models import architecture  # noqa: E402
from src.runs import defaults  # noqa: E402

HEAD = """# Configuration

Every setting is a field of the recipe. These are the defaults, those of the paper's text. A recipe
in `configs/` changes some of them, and the command line others: `--config.batch_size=256`,
`--config.schedule.learning_rate=0.02`, `--config.model.norms.lrn.enabled=False`. An unknown field
and a value of another type are refused. `python docs/configuration.py` writes this page.
"""
ENTRY = re.compile(r'(?P<name>"\w+"): (?P<value>.*?),? *(?:# (?P<meaning>.*))?')
ATTRIBUTE = re.compile(
    r" {4}(?P<name>\w+): (?P<type>[^=#]+?)(?: = (?P<value>[^#]+?))? *(?:# (?P<meaning>.*))?"
)


def rows_of_defaults() -> Iterator[tuple[str, str, str]]:
    """(field, default, meaning) of each entry of DEFAULTS, but for the network."""
    section, comment = "", ""
    source = inspect.getsource(defaults)
    for line in source[source.index("DEFAULTS") :].splitlines()[1:]:
        text = line.strip()
        if text.startswith("#"):
            comment += text.removeprefix("#")
        elif text == "},":
            section = ""
        elif match := ENTRY.fullmatch(text):
            name = section + match["name"].strip('"')
            if match["value"] == "{":
                section = f"{name}."
            elif name != "model":
                yield name, match["value"], (match["meaning"] or comment).strip()
            comment = ""


def rows_of_class(spec: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    """(field, default, meaning) of each field of a dataclass."""
    comment = ""
    fields = {field.name for field in dataclasses.fields(spec)}
    for line in inspect.getsource(spec).splitlines():
        if line.strip().startswith("#"):
            comment += line.strip().removeprefix("#")
        elif (match := ATTRIBUTE.fullmatch(line)) and match["name"] in fields:
            meaning = (match["meaning"] or comment).strip()
            yield f"{prefix}{match['name']}", match["value"] or "", meaning
            comment = ""


def table(rows: Iterator[tuple[str, str, str]]) -> str:
    """A table in Markdown."""
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for name, default, meaning in rows:
        code = f"`{default}`" if default else ""
        lines.append(f"| `{name}` | {code} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page: a chapter for training and data, and one for each dataclass of the network."""
    chapters = ["## Training and data\n\n" + table(rows_of_defaults())]
    for title, spec, prefix in [
        ("The network", architecture.Architecture, "model."),
        ("A convolutional layer", architecture.ConvSpec, "model.convs.NAME."),
        ("A dense layer", architecture.DenseSpec, "model.dense.NAME."),
        ("A normalization", architecture.NormSpec, "model.norms.NAME."),
        ("A pooling", architecture.PoolSpec, "model.pools.NAME."),
    ]:
        doc = (inspect.getdoc(spec) or "").partition("Raises:")[0].strip()
        chapters.append(f"## {title}\n\n{doc}\n\n{table(rows_of_class(spec, prefix))}")
    return "\n".join([HEAD, *chapters])


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page())
