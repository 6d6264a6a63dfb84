"""What evaluations of a run found."""

import json
from pathlib import Path
from typing import Any

from ..filesystem import write_text
from .metrics_file import read_metrics

EVALUATIONS = "evaluations"  # a file for each step and number of views


def read_result(workdir: Path) -> dict[str, Any] | None:
    """The outcome of a finished run; None of one that is not."""
    path = workdir / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def result_at(workdir: Path, step: int, views: int) -> dict[str, Any] | None:
    """What was found of the network after so many steps, at the end, on the way or later.

    None if nothing; by as many `views` where that was tried. Its `examples` are how many images it
    was evaluated on, where that is known.
    """
    lines = read_metrics(workdir)
    on_the_way = [{**line, "views": 1} for line in lines if line["split"] != "train"]
    later = [json.loads(path.read_text()) for path in (workdir / EVALUATIONS).glob("*.json")]
    result = read_result(workdir)
    found = [*([result] if result else []), *later, *reversed(on_the_way)]
    of_step = [values for values in found if values["step"] == step]
    return min(of_step, key=lambda values: values["views"] != views, default=None)


def write_evaluation(workdir: Path, result: dict[str, Any]) -> None:
    """Keeps what was found of a network, in place of what was found before of the same.

    Args:
      result: with its `step` and `views`.

    Raises:
      OSError: the folder can't be written to.
    """
    folder = workdir / EVALUATIONS
    folder.mkdir(exist_ok=True)
    write_text(
        folder / f"{result['step']}-{result['views']}.json", json.dumps(result, indent=2) + "\n"
    )


def write_result(workdir: Path, result: dict[str, Any]) -> None:
    """Marks the run as finished."""
    write_text(workdir / "result.json", json.dumps(result, indent=2) + "\n")
