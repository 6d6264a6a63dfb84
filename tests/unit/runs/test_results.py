"""The results that a run directory keeps."""

from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from src.errors import UserError
from src.runs.results import EVALUATIONS, read_result, result_at, write_evaluation, write_result
from src.runs.workdir import check_workdir


@pytest.mark.parametrize(
    ("step", "views", "expected"), [(3, 1, (3, 1)), (3, 10, (3, 10)), (4, 1, (4, 9)), (5, 1, None)]
)
def test_result_of_a_step_has_as_many_views_where_possible(
    step: int, views: int, expected: tuple[int, int] | None, tmp_path: Path
) -> None:
    for kept_step, kept_views in [(3, 1), (3, 10), (4, 9)]:
        write_evaluation(tmp_path, {"step": kept_step, "views": kept_views})
    result = result_at(tmp_path, step, views)
    assert (result and (result["step"], result["views"])) == expected


def test_evaluations_that_cannot_be_listed_are_an_error(tmp_path: Path) -> None:
    (tmp_path / EVALUATIONS).symlink_to(EVALUATIONS)
    with pytest.raises(OSError, match="levels of symbolic links"):
        result_at(tmp_path, 3, 1)
    with pytest.raises(OSError, match="levels of symbolic links"):
        check_workdir(tmp_path, ConfigDict())


def test_results_are_kept_by_images_split_and_views(tmp_path: Path) -> None:
    own = {"step": 3, "views": 1, "split": "val", "images": None}
    results: list[dict[str, Any]] = [
        own,
        {**own, "split": "test", "images": "photos-1234"},
        {**own, "split": "val", "images": "photos-1234"},
        {**own, "split": "val", "images": "photos-5678"},
        {**own, "split": "test", "images": "photos-1234", "views": 10},
    ]
    for result in [*results, results[1]]:  # the last replaces an equal one
        write_evaluation(tmp_path, result)
    assert len(list(tmp_path.rglob("*.json"))) == len(results)
    assert result_at(tmp_path, 3, 10) == own


def test_changed_digit_is_noticed(tmp_path: Path) -> None:
    result = {"loss": 2.3125, "top1_error": 1e-07, "machine": {"device": "cpu", "devices": 2}}
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result
    path = tmp_path / "result.json"
    text = path.read_text()
    digits = [place for place, character in enumerate(text) if character.isdecimal()]
    assert len(digits) > 20
    for place in digits:
        path.write_text(text[:place] + str(9 - int(text[place])) + text[place + 1 :])
        with pytest.raises(UserError, match=r"result\.json: (damaged|written in format)"):
            read_result(tmp_path)


def test_result_of_an_older_version_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"format": 1, "loss": 2.0}')
    assert read_result(tmp_path) == {"loss": 2.0}
