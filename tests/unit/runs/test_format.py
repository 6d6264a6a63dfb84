"""Every later version opens a run directory of format 1, and rejects other formats in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.errors import UserError
from src.inference.classifier import load
from src.inference.ensemble import evaluate_ensemble
from src.runs.config import read_config
from src.runs.results import read_result
from src.runs.workdir import check_workdir
from src.training.loop import train
from tests.support import format1, miniature


@pytest.fixture
def workdir(tmp_path: Path, cache: Path) -> Path:
    """A copy of the run of format 1, with the prepared data of the tests."""
    workdir = tmp_path / "run"
    shutil.copytree(format1.WORKDIR, workdir)
    rewrite(workdir / "config.json", lambda fields: fields["data"].update(root=f"{cache}/prepared"))
    return workdir


def rewrite(path: Path, change: Any) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_run_of_format_1_predicts_and_evaluates_as_before(workdir: Path) -> None:
    mesh = miniature.mesh(1, 1)
    classifier = load(workdir, mesh=mesh)
    images = np.random.default_rng(0).integers(0, 256, (3, 73, 73, 3), dtype=np.uint8)
    np.testing.assert_allclose(classifier(images).sum(axis=1), 1, rtol=1e-5)
    expected, result = read_result(workdir), evaluate_ensemble([workdir])
    assert expected is not None
    assert result["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert result["top1_error"] == pytest.approx(expected["top1_error"], abs=0.02)


def test_run_of_format_1_resumes(workdir: Path) -> None:
    mesh = miniature.mesh(1, 1)
    expected = load(workdir, mesh=mesh).params
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints/8")
    config = read_config(workdir)
    trained = train(config, workdir, ProcessGroup(process_info({}), config.processes))
    assert trained.result is not None
    assert trained.result["step"] == 8
    for name, leaf in jax.tree.leaves_with_path(load(workdir, mesh=mesh).params):
        np.testing.assert_allclose(leaf, dict(jax.tree.leaves_with_path(expected))[name], atol=1e-4)


def test_missing_config_fields_get_defaults(workdir: Path) -> None:
    def remove_fields(fields: dict[str, Any]) -> None:
        del fields["views"], fields["optimizer"]["frozen_layers"], fields["model"]["dropout"]

    rewrite(workdir / "config.json", remove_fields)
    config = read_config(workdir)
    assert (config.views, config.optimizer.frozen_layers, config.model.dropout) == (10, "", 0.5)
    assert list(config.model.convs) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert load(workdir).step == 8


@pytest.mark.parametrize(
    ("version", "message"),
    [(None, "written without a format, before format 1"), (2, "written in format 2")],
)
@pytest.mark.parametrize("file", ["config.json", "checkpoints/8/progress/metadata"])
def test_other_formats_are_rejected(
    file: str, version: int | None, message: str, workdir: Path
) -> None:
    rewrite(workdir / file, lambda fields: fields.update(format=version))
    with pytest.raises(UserError, match=f"{message}; this version reads only format 1$"):
        load(workdir)


def test_missing_config_does_not_start_the_run_anew(workdir: Path) -> None:
    config = read_config(workdir)
    (workdir / "config.json").unlink()
    with pytest.raises(UserError, match=r"has checkpoints but no config\.json; restore it"):
        check_workdir(workdir, config)


@pytest.mark.parametrize("content", ["", "[", "\0" * 80])
def test_damaged_result_is_rejected_and_named(content: str, workdir: Path) -> None:
    (workdir / "result.json").write_text(content)
    with pytest.raises(UserError, match=r"result\.json: damaged: .*; .* run the command again"):
        read_result(workdir)


def test_result_of_another_format_is_rejected(workdir: Path) -> None:
    rewrite(workdir / "result.json", lambda fields: fields.pop("format"))
    with pytest.raises(UserError, match=r"result\.json: written without a format"):
        read_result(workdir)
