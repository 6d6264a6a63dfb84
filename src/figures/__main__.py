"""Draws the results of experiments, or the network of a recipe, without a run.

python -m src.figures [RESULTS.json …] [--out=DIR] [--formats=svg,pdf,png]
python -m src.figures --config=RECIPE [--classes=N] [--out=DIR] [--formats=svg,pdf,png]

The first draws each file (default: results/*.json) to a figure beside it, or in DIR. The second
draws the paper's Figure 2 for a recipe, as DIR/figure2 for wide screens and DIR/figure2-phone. An
SVG suits light and dark screens; PDF and PNG come in two versions, NAME and NAME-dark.
"""

import functools
import glob
from pathlib import Path

from ..cli.app import run
from ..cli.flags import CommandFlags
from ..data.sources import find_source
from ..errors import UserError, check_extra
from ..models.architecture import Architecture
from ..runs.config import check_format, read_json

FLAGS = CommandFlags(takes_arguments=True)
CONFIG = FLAGS.config(None, "The recipe whose network to draw.")
CLASSES = FLAGS.integer(
    "classes", None, "Classes of the recipe's dataset. Default: it tells.", lower_bound=1
)
OUT = FLAGS.string("out", None, "Directory for the figures. Default: beside the results; figures.")
FORMATS = FLAGS.string("formats", "svg", "The kinds of files: svg, pdf, png, or several by commas.")


def main() -> None:
    check_extra("report")
    from . import theme  # needs the extra

    formats = FORMATS.value.split(",")
    if unknown := [name for name in formats if name not in theme.FORMATS]:
        raise UserError(f"--formats: {unknown[0]!r} is not one of {', '.join(theme.FORMATS)}")
    try:
        paths = draw_network(formats) if CONFIG.value else draw_results(formats)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; choose another --out=DIR") from None
    print(*paths, sep="\n")


def draw_results(formats: list[str]) -> list[Path]:
    """Draws files of results; `results/*.json` of this repository if none is named."""
    from . import curves, theme

    paths = []
    for path in map(Path, FLAGS.arguments or sorted(glob.glob("results/*.json"))):
        if not path.is_file():
            raise UserError(f"{path}: no such file; name the results.json of an experiment")
        results = read_json(path)
        if "variants" not in results:
            raise UserError(f"{path}: no results of an experiment")
        check_format(path, results.get("format"))
        name = path.parent.name if path.stem == "results" else path.stem  # of an experiment
        stem = Path(OUT.value or path.parent) / name
        paths += theme.write(functools.partial(curves.draw, results), stem, formats)
    return paths


def draw_network(formats: list[str]) -> list[Path]:
    """Draws the network of a recipe, for screens and for phones."""
    from . import layers, network, theme

    config = CONFIG.value
    if "variants" in config:
        raise UserError("--config: an experiment, not a recipe; draw its results.json")
    classes = CLASSES.value or len(find_source(config.data).class_names())
    net = layers.describe(Architecture.from_config(config.model), classes)
    paths = []
    for vertical, name in enumerate(("figure2", "figure2-phone")):
        draw = functools.partial(
            network.draw, net, vertical=bool(vertical), title=network.title(net)
        )
        paths += theme.write(draw, Path(OUT.value or "figures") / name, formats)
    return paths


if __name__ == "__main__":
    run(main, FLAGS, __doc__)
