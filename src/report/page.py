"""Writes the page about a run."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np

from ..errors import UserError
from ..filesystem import atomic_write
from ..runs.config import read_config
from ..runs.metrics_file import read_metrics
from ..runs.system_info import describe_system
from . import (
    augmentation,
    curves,
    facts,
    feature_maps,
    kernels,
    neighbors,
    network,
    network_figure,
    predictions,
    svg,
)
from .run import Run

logger = logging.getLogger(__name__)


def write(workdirs: Sequence[Path], *, checkpoint: str = "newest", among: int = 10_000) -> Path:
    """Writes the page about the first run, with the curves of all.

    Where the images are missing, the page leaves out what needs them, and says why.

    Args:
      checkpoint: "newest" or "best".
      among: how many training images to search for neighbors, at most.

    Returns:
      The page's path.

    Raises:
      UserError: a directory has no run, or the first one no checkpoint.
    """
    for workdir in workdirs:
        read_config(workdir)  # reports a mistake in any of them before the work starts
    path = workdirs[0] / "report" / "index.html"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"workdir {workdirs[0]}: {error.strerror}; copy it elsewhere") from None
    with matplotlib.rc_context(svg.STYLE):
        sections = _sections(Run(workdirs[0], checkpoint), workdirs, among)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["duration"] = duration
    page = environment.get_template("page.html").render(sections)
    with atomic_write(path) as incomplete:
        incomplete.write_text(page, encoding="utf-8")
    return path


def _names(workdirs: Sequence[Path]) -> list[str]:
    """The runs' names: the shortest ends of their paths that differ."""
    paths = [workdir.resolve().parts for workdir in workdirs]
    depths = range(1, max(map(len, paths)) + 1)
    enough = next(d for d in depths if len({path[-d:] for path in paths}) == len(set(paths)))
    return ["/".join(path[-enough:]) for path in paths]


def _sections(run: Run, workdirs: Sequence[Path], among: int) -> dict[str, Any]:
    try:
        data, missing = run.data, ""
    except UserError as error:
        data, missing = None, str(error)
        logger.warning("%s: the page has no images: %s", run.workdir, missing)
    images = _images(run, among) if data else None
    net = network.describe(run.architecture, len(run.class_names))
    first = np.asarray(run.classifier.params[run.layers[0]]["kernel"])
    return {
        "facts": facts.facts(run, data, images["error"] if images else None),
        "machine": describe_system(),
        "settings": json.dumps(run.config.to_dict(), indent=2, ensure_ascii=False),
        "runs": [
            {"name": name, "color": number % svg.SERIES, "dash": svg.dash(number)}
            for number, name in enumerate(_names(workdirs))
        ],
        "curves": curves.draw([read_metrics(workdir) for workdir in workdirs]),
        "network": net,
        "drawings": [network_figure.draw(net, vertical=vertical) for vertical in (False, True)],
        "kernels": kernels.show(first),
        "first": run.layers[0],
        "missing": missing,
        "images": images,
    }


def _images(run: Run, among: int) -> dict[str, Any]:
    """The sections that need images."""
    predicted = predictions.predict(run)
    return {
        "error": predicted.error,
        "examples": predictions.examples(run),
        "matrix": predictions.matrix(run, predicted),
        "mistakes": predictions.mistakes(run, predicted),
        "neighbors": neighbors.show(run, among),
        "maps": feature_maps.show(run),
        "augmentation": augmentation.show(run),
    }


def duration(seconds: float) -> str:
    """A duration in the largest unit that gives at least two."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
