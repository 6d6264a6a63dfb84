"""The results of a run's evaluations, at its end or later."""

import json
import shutil
from pathlib import Path
from typing import Any

from ..filesystem import write_json
from .config import FORMAT, check_format
from .metrics_file import read_metrics

EVALUATIONS = "evaluations"  # a file for each step and number of views


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Marks the run as finished."""
    write_json(workdir / "result.json", {"format": FORMAT, **result})


def read_result(workdir: Path) -> dict[str, Any] | None:
    """The final result of a run; None of one that is not finished.

    Raises:
      UserError: it is of another format.
    """
    path = workdir / "result.json"
    return _read(path) if path.exists() else None


def write_evaluation(workdir: Path, result: dict[str, Any]) -> None:
    """Keeps the result of an evaluation; it replaces one of the same step and number of views.

    Args:
      workdir: the run directory.
      result: with its `step` and `views`.

    Raises:
      OSError: the directory cannot be written to.
    """
    path = workdir / EVALUATIONS / f"{result['step']}-{result['views']}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"format": FORMAT, **result})


def remove_evaluations(workdir: Path) -> None:
    """Forgets the evaluations of an earlier run in the same directory."""
    shutil.rmtree(workdir / EVALUATIONS, ignore_errors=True)


def result_at(workdir: Path, step: int, views: int) -> dict[str, Any] | None:
    """The result of the network after `step` steps, from the end of training, during it or later.

    Returns:
      A result with as many `views` if there is one, else one with others, else None. Its `examples`
      are the number of images, where that is known.
    """
    lines = read_metrics(workdir)
    during = [{**line, "views": 1} for line in lines if line["split"] != "train"]
    later = [_read(path) for path in (workdir / EVALUATIONS).glob("*.json")]
    result = read_result(workdir)
    results = [*([result] if result else []), *later, *reversed(during)]
    at_step = [values for values in results if values["step"] == step]
    return min(at_step, key=lambda values: values["views"] != views, default=None)


def _read(path: Path) -> dict[str, Any]:
    result = json.loads(path.read_text())
    check_format(path, result.pop("format", None))
    return result
