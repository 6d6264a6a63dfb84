"""The results of a run: of the final evaluation, and of evaluations during and after training."""

import json
import zlib
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..filesystem import names_in, write_json
from .config import FORMAT, check_format, read_json
from .metrics_file import read_metrics

EVALUATIONS = "evaluations"  # directory; a file for each step and number of views, and other images


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Saves the final result, which marks the run as finished."""
    _write(workdir / "result.json", result)


def read_result(workdir: Path) -> dict[str, Any] | None:
    """The final result of a run, if it is finished; UserError for damage or another format."""
    return _read(workdir / "result.json")


def write_evaluation(workdir: Path, result: dict[str, Any]) -> None:
    """Saves a result with its `step` and `views`; it replaces a result with the same values.

    A result on other images than the run's has their name in `images`, and its `split`. Raises
    OSError if the directory cannot be written to.
    """
    path = evaluation_path(workdir, result)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, result)


def evaluation_path(workdir: Path, result: dict[str, Any]) -> Path:
    """Where `write_evaluation` saves a result."""
    images = result.get("images")
    directory = Path(images, result["split"]) if images else ""
    return workdir / EVALUATIONS / directory / f"{result['step']}-{result['views']}.json"


def result_at(workdir: Path, step: int, views: int) -> dict[str, Any] | None:
    """The result of the network after `step` steps, from any evaluation on the run's own images.

    Prefers a result with `views` views; None if there is no result. Its `examples` are the number
    of images, where known.
    """
    # Evaluations after training come first: they know the classes.
    evaluations = workdir / EVALUATIONS
    saved = [evaluations / name for name in names_in(evaluations) if name.endswith(".json")]
    lines = reversed(read_metrics(workdir))
    during = [{**line, "views": 1} for line in lines if line["split"] != "train"]
    results = [*map(_read, [*saved, workdir / "result.json"]), *during]
    at_step = [result for result in results if result and result["step"] == step]
    return min(at_step, key=lambda result: result["views"] != views, default=None)


def _write(path: Path, result: dict[str, Any]) -> None:
    write_json(path, {"format": FORMAT, **result, "checksum": _checksum(result)})


def _read(path: Path) -> dict[str, Any] | None:
    if result := read_json(path):
        check_format(path, result.pop("format", None))
        checksum = result.pop("checksum", None)  # older versions wrote none
        if checksum not in (None, _checksum(result)):
            raise UserError(
                f"{path}: damaged: its checksum is not that of its values; restore it from a copy, "
                "or remove it and run the command again"
            )
    return result


def _checksum(result: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(result, sort_keys=True).encode())
