"""What tests of whole runs have in common: how far one is, and whether two came out the same."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.data.preparation import prepare_dataset
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.inference.classifier import load
from src.runs.checkpoint import Checkpointer
from src.runs.workdir import check_workdir, open_workdir
from src.training.loop import Status, train
from src.training.state import Progress, create_state, to_checkpoint
from tests.support import miniature


def arguments(workdir: Path, cache: Path, *more: str) -> list[str]:
    return [
        "--config=tests/support/tiny.py",
        f"--workdir={workdir}",
        f"--config.data.root={cache / 'prepared'}",
        *more,
    ]


def steps_done(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def assert_same_run(one: Path, other: Path, tolerance: float = 0) -> None:
    for a, b in zip(
        *(jax.tree.leaves(load(workdir).params) for workdir in (one, other)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    metrics = [
        [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (workdir / "metrics.jsonl").read_text().splitlines()
        ]
        for workdir in (one, other)
    ]
    assert [(m["step"], m["split"]) for m in metrics[0]] == [
        (m["step"], m["split"]) for m in metrics[1]
    ]
    for a, b in zip(*metrics, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=tolerance)
        assert a["top1_error"] == pytest.approx(b["top1_error"], abs=10 * tolerance)


def trained(config: ConfigDict, workdir: Path) -> Path:
    """A run that is trained to its end, in this process."""
    group = ProcessGroup(process_info({}), config.processes)
    assert train(config, workdir, group).status is Status.FINISHED
    return workdir


def untrained(config: ConfigDict, workdir: Path) -> Path:
    """A run that has only its initial weights, for tests that need no better ones."""
    data = prepare_dataset(config.data)
    check_workdir(workdir, config)
    state = create_state(config, len(data.class_names), miniature.mesh(1, 1))
    with (
        open_workdir(workdir, config, data, ProcessGroup(process_info({}), config.processes)),
        Checkpointer(workdir) as checkpointer,
    ):
        checkpointer.save(to_checkpoint(state, Progress(schedule={})))
    return workdir
