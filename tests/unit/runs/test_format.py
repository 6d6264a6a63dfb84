"""A run directory of format 1 opens in every later version; others are refused in one line."""

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
from src.training.loop import train
from tests.support import format1, miniature


@pytest.fixture
def workdir(tmp_path: Path, cache: Path) -> Path:
    """A copy whose prepared data are where the tests have theirs."""
    workdir = tmp_path / "run"
    shutil.copytree(format1.WORKDIR, workdir)
    rewrite(workdir / "config.json", lambda fields: fields["data"].update(root=f"{cache}/prepared"))
    return workdir


def rewrite(path: Path, change: Any) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_it_predicts_and_evaluates_as_it_did(workdir: Path) -> None:
    mesh = miniature.mesh(1, 1)
    classifier = load(workdir, mesh=mesh)
    images = np.random.default_rng(0).integers(0, 256, (3, 73, 73, 3), dtype=np.uint8)
    np.testing.assert_allclose(classifier(images).sum(axis=1), 1, rtol=1e-5)
    expected, result = read_result(workdir), evaluate_ensemble([workdir])
    assert expected is not None
    assert result["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert result["top1_error"] == pytest.approx(expected["top1_error"], abs=0.02)


def test_it_resumes(workdir: Path) -> None:
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


def test_fields_that_are_younger_than_a_run_get_their_defaults(workdir: Path) -> None:
    def forget(fields: dict[str, Any]) -> None:
        del fields["views"], fields["optimizer"]["frozen_layers"], fields["model"]["dropout"]

    rewrite(workdir / "config.json", forget)
    config = read_config(workdir)
    assert (config.views, config.optimizer.frozen_layers, config.model.dropout) == (10, "", 0.5)
    assert list(config.model.convs) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert load(workdir).step == 8


@pytest.mark.parametrize(
    ("version", "message"),
    [(None, "written without a format, before format 1"), (2, "written in format 2")],
)
@pytest.mark.parametrize("file", ["config.json", "checkpoints/8/progress/metadata"])
def test_other_formats_are_refused(
    file: str, version: int | None, message: str, workdir: Path
) -> None:
    rewrite(workdir / file, lambda fields: fields.update(format=version))
    with pytest.raises(UserError, match=f"{message}; this version reads only format 1$"):
        load(workdir)


def test_a_result_of_another_format_is_refused(workdir: Path) -> None:
    rewrite(workdir / "result.json", lambda fields: fields.pop("format"))
    with pytest.raises(UserError, match=r"result\.json: written without a format"):
        read_result(workdir)
