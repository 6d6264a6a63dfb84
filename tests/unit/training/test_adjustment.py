"""The duration and the learning rates to come of a run may change when it resumes."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.errors import UserError
from src.inference.classifier import load
from src.runs.config import read_config, read_earlier_values
from src.runs.preprocessing import read_preprocessing, write_preprocessing
from src.runs.results import read_result, result_at, write_evaluation
from src.runs.workdir import check_workdir
from src.training.adjustment import adjust_run
from tests.support import format1, miniature
from tests.support.runs import trained


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A copy of a finished run of 8 steps, with a plateau schedule."""
    return shutil.copytree(format1.WORKDIR, tmp_path / "run")


def changed(workdir: Path, **fields: object) -> ConfigDict:
    config = read_config(workdir)
    config.update_from_flattened_dict(fields)
    return config


def test_finished_run_gets_a_longer_duration_and_another_rate(workdir: Path) -> None:
    result = read_result(workdir)
    assert result is not None
    longer = {"duration": "12 steps", "schedule.learning_rate": 0.001}
    adjust_run(workdir, changed(workdir, **longer))
    check_workdir(workdir, changed(workdir))
    config = read_config(workdir)
    assert (config.duration, config.schedule.learning_rate) == ("12 steps", 0.001)
    earlier = {"step": 8, "values": {"duration": "8 steps", "schedule.learning_rate": 0.01}}
    assert read_earlier_values(workdir) == [earlier]
    assert read_result(workdir) is None
    assert result_at(workdir, 8, result["views"]) == result
    adjust_run(workdir, changed(workdir, **{"schedule.patience": 5}))
    assert read_earlier_values(workdir) == [
        earlier,
        {"step": 8, "values": {"schedule.patience": 3}},
    ]


def test_run_that_stopped_early_goes_on_with_more_patience(workdir: Path) -> None:
    result = read_result(workdir)
    assert result is not None
    counted = {**result, "classes": [{"class": "a"}]}
    write_evaluation(workdir, counted)
    adjust_run(workdir, changed(workdir, stop_after=5))
    check_workdir(workdir, changed(workdir))
    assert read_result(workdir) is None
    assert result_at(workdir, 8, result["views"]) == counted  # which says more than the result
    assert read_earlier_values(workdir) == [{"step": 8, "values": {"stop_after": 0}}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule.learning_rate": 0.5}, "restore them, or give another --workdir"),  # finished
        ({"duration": "12 steps", "seed": 7}, "restore them, or give another --workdir"),
        ({"duration": "12 steps", "schedule.name": "constant"}, "restore them"),
    ],
)
def test_other_changes_are_rejected_and_alter_nothing(
    fields: dict[str, object], message: str, workdir: Path
) -> None:
    before = (workdir / "config.json").read_text()
    config = changed(workdir, **fields)
    adjust_run(workdir, config)
    with pytest.raises(UserError, match=message):
        check_workdir(workdir, config)
    assert (workdir / "config.json").read_text() == before
    assert read_result(workdir) is not None


def test_change_with_other_images_is_rejected_and_alters_nothing(workdir: Path) -> None:
    before = (workdir / "config.json").read_text()
    images = read_preprocessing(workdir)
    write_preprocessing(workdir, images._replace(dataset="digits-8px-00000000"))
    with pytest.raises(UserError, match="the run was trained on digits-8px-00000000"):
        adjust_run(workdir, changed(workdir, duration="12 steps"))
    assert (workdir / "config.json").read_text() == before
    assert read_result(workdir) is not None


def test_longer_cosine_is_rejected_with_the_way_to_train_on(workdir: Path) -> None:
    path = workdir / "config.json"
    fields = json.loads(path.read_text())
    fields["schedule"]["name"] = "cosine"
    path.write_text(json.dumps(fields))
    config = changed(workdir, duration="12 steps")
    adjust_run(workdir, config)
    with pytest.raises(UserError, match=f"--config.init_from={workdir} and another --workdir"):
        check_workdir(workdir, config)


@pytest.mark.slow
def test_longer_run_ends_bitwise_where_a_run_of_that_duration_ends(
    tmp_path: Path, cache: Path
) -> None:
    config = format1.recipe(cache / "prepared")
    config.schedule.name, config.evaluate_every = "constant", "2 steps"
    params = {}
    for name, durations in {"extended": ["4 steps", "6 steps"], "longer": ["6 steps"]}.items():
        for config.duration in durations:
            adjust_run(tmp_path / name, config)
            trained(config, tmp_path / name)
        params[name] = load(tmp_path / name, mesh=miniature.mesh(1, 1)).params
    jax.tree.map(np.testing.assert_array_equal, params["extended"], params["longer"])
    assert [change["step"] for change in read_earlier_values(tmp_path / "extended")] == [4]
    config.duration = "5 steps"
    files = [tmp_path / "longer" / name for name in ("config.json", "result.json")]
    before = [file.read_text() for file in files]
    with pytest.raises(UserError, match="'5 steps' ends at step 5, before the run's step 6"):
        adjust_run(tmp_path / "longer", config)
    assert [file.read_text() for file in files] == before
