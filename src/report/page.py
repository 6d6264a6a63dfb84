"""Writes the page about a run."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib

from ..cli.text import duration
from ..errors import UserError
from ..figures import layers, network, theme
from ..filesystem import atomic_write
from ..runs.config import flatten, read_config
from ..runs.metrics_file import read_metrics
from ..runs.system_info import describe_system
from . import (
    augmentation,
    curves,
    devices,
    feature_maps,
    kernels,
    neighbors,
    occlusion,
    predictions,
)
from .run import Run
from .summary import preset_differences, summarize

logger = logging.getLogger(__name__)


def write(workdirs: Sequence[Path], *, checkpoint: str = "newest", among: int = 10_000) -> Path:
    """Writes the page about the first run, with the curves of all runs.

    If the images are missing, the page leaves out the sections that need them, and says why.

    Args:
      workdirs: run directories.
      checkpoint: "newest" or "best".
      among: the largest number of training images to search for neighbors.

    Returns:
      The page's path.

    Raises:
      UserError: a directory has no run, or the first run has no checkpoint.
    """
    for workdir in workdirs:
        read_config(workdir)  # reports a mistake in any of them before the work starts
    path = workdirs[0] / "report" / "index.html"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"workdir {workdirs[0]}: {error.strerror}; copy it elsewhere") from None
    with matplotlib.rc_context(theme.STYLE):
        values = _template_values(Run(workdirs[0], checkpoint), workdirs, among)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(values, duration=duration, css=theme.css)
    with atomic_write(path) as incomplete:
        incomplete.write_text(page, encoding="utf-8")
    return path


def _names(workdirs: Sequence[Path]) -> list[str]:
    """The runs' names: the shortest ends of their paths that differ."""
    paths = [workdir.resolve().parts for workdir in workdirs]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    return ["/".join(path[-depth:]) for path in paths]


def _template_values(run: Run, workdirs: Sequence[Path], among: int) -> dict[str, Any]:
    try:
        data, missing = run.data, ""
    except UserError as error:
        data, missing = None, str(error)
        logger.warning("%s: the page has no images: %s", run.workdir, missing)
    images = _image_sections(run, among) if data else None
    net = layers.describe(run.architecture, len(run.class_names))
    first = run.architecture.layer_names[0]
    return {
        "run": run,
        "summary": summarize(run, data, images["error"] if images else None),
        "system": describe_system(),
        "settings": flatten(run.config),
        "differences": preset_differences(run.config),
        "runs": [
            {"name": name, "color": number % theme.NUM_COLORS, "dash": theme.dash(number)}
            for number, name in enumerate(_names(workdirs))
        ],
        "curves": curves.draw([read_metrics(workdir) for workdir in workdirs]),
        "network": net,
        "drawings": [network.inline(net, vertical=vertical) for vertical in (False, True)],
        "kernels": kernels.section(run.kernels(first), run.initial_kernels(first)),
        "devices": devices.section(run),
        "first": first,
        "missing": missing,
        "images": images,
    }


def _image_sections(run: Run, among: int) -> dict[str, Any]:
    predicted = predictions.predict(run)
    return {
        "error": float((predicted.classes != predicted.labels).mean()),
        "examples": predictions.examples(run),
        "errors": predictions.errors(run.class_names, predicted),
        "mistakes": predictions.mistakes(run, predicted),
        "neighbors": neighbors.section(run, among),
        "maps": feature_maps.section(run),
        "occlusion": occlusion.section(run),
        "augmentation": augmentation.section(run),
    }
