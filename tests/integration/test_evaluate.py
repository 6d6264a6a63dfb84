import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from src.data.loader import Batch
from src.inference import evaluation
from src.inference.ensemble import evaluate_ensemble
from src.inference.evaluation import Member, describe_result, evaluate
from src.runs.config import read_config
from src.runs.results import EVALUATIONS, result_at, write_evaluation
from tests.support import miniature, tiny
from tests.support.commands import run
from tests.support.runs import untrained

BATCHES, GLOBAL_BATCH, CLASSES = 8, 2, 3


def slowly(params: None, images: jax.Array, statistics: None) -> jax.Array:
    """Log-probabilities, after some tens of milliseconds."""
    zero = jax.lax.fori_loop(0, 100, lambda _, x: x @ x, jnp.zeros((400, 400)))[0, 0]
    return jax.nn.log_softmax(images[:, 0, 0] + zero)


def test_batches_do_not_pile_up_before_a_slow_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that wait, each takes one of the few threads that the CPU's devices share."""
    started: list[dict[str, jax.Array]] = []
    make = evaluation._make_add

    def watched(classify: tuple) -> Callable[..., Any]:
        add = make(classify)

        def watched_add(*arguments: Any) -> dict[str, jax.Array]:
            started.append(add(*arguments))
            return started[-1]

        return watched_add

    def batches() -> Iterator[Batch]:
        for _ in range(BATCHES):
            assert sum(not totals["loss"].is_ready() for totals in started) <= 1
            yield {
                "image": np.eye(CLASSES, dtype=np.uint8)[None, None].repeat(GLOBAL_BATCH, 0),
                "label": np.zeros(GLOBAL_BATCH, np.int32),
                "mask": np.ones(GLOBAL_BATCH, np.float32),
            }

    monkeypatch.setattr(evaluation, "_make_add", watched)
    result = evaluate([Member(slowly, None, None, batches)], miniature.mesh(1, 1), GLOBAL_BATCH)
    assert result is not None
    assert result["examples"] == BATCHES * GLOBAL_BATCH


@pytest.fixture
def workdir(cache: Path, tmp_path: Path) -> Path:
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    return untrained(config, tmp_path / "run")


def test_what_the_command_finds_is_kept_beside_the_run(workdir: Path, cache: Path) -> None:
    done = run("src.evaluate", f"--workdir={workdir}", "--views=10", cache=cache)
    assert done.returncode == 0, done.stderr
    kept = result_at(workdir, 0, 10)
    assert kept is not None
    assert (kept["step"], kept["views"], kept["split"], kept["examples"]) == (0, 10, "test", 360)
    assert done.stdout == f"test: {describe_result(kept)}\n"


def test_it_is_told_before_each_batch_that_an_average_goes_on(workdir: Path) -> None:
    told: list[None] = []
    evaluate_ensemble([workdir], before_batch=lambda: told.append(None))
    assert len(told) == -(-360 // read_config(workdir).batch_size)


def test_a_run_can_be_evaluated_where_nothing_can_be_kept(workdir: Path, cache: Path) -> None:
    (workdir / EVALUATIONS).touch()
    done = run("src.evaluate", f"--workdir={workdir}", cache=cache)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test: top-1 error")
    assert "the result is not kept there: File exists" in done.stderr


def test_the_result_of_a_step_is_that_of_as_many_views_if_there_is_one(workdir: Path) -> None:
    found = [{"step": step, "views": views} for step, views in [(3, 1), (3, 10), (4, 9)]]
    for result in found:
        write_evaluation(workdir, result)
    assert result_at(workdir, 3, 1) == found[0]
    assert result_at(workdir, 3, 10) == found[1]
    assert result_at(workdir, 4, 1) == found[2]
    assert result_at(workdir, 5, 1) is None


def test_a_run_does_not_keep_what_was_found_of_one_before(workdir: Path, cache: Path) -> None:
    write_evaluation(workdir, {"step": 0, "views": 1})
    shutil.rmtree(workdir / "checkpoints")
    config = read_config(workdir)
    assert result_at(untrained(config, workdir), 0, 1) is None
