"""The log of a run."""

import json
import math
import re
import shutil
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.errors import CommandError, DivergedError
from src.runs.metrics_file import keep_metrics
from src.training.metric_logger import MetricLogger
from src.training.periods import Periods
from src.training.progress_bar import ProgressBar
from src.writers import JsonLines, Writer, make_writers
from tests.support import miniature, tiny


def log_of(
    workdir: Path, start: int = 0, every: int = 5, total: int = 100, **more: Any
) -> MetricLogger:
    bar = more.pop("bar", None) or ProgressBar(total, shown=True)
    bar.advance_to(bar.n + start)
    writers = []
    if more.pop("writes", True):
        keep_metrics(workdir, lambda line: line["step"] <= start)
        writers = make_writers(workdir, start, tiny.get_config(), miniature.mesh(1, 1))
    periods = Periods(Fraction(10), total, Fraction(total), Fraction(total), every)
    batch_size = tiny.get_config().batch_size
    return MetricLogger(writers, bar, periods, batch_size, 10, **more)


def metrics(loss: float, grad_norm: float = 1.0) -> dict[str, jnp.ndarray]:
    values = {"loss": loss, "top1_error": 0.5, "top5_error": 0.25, "grad_norm": grad_norm}
    return {name: jnp.float32(value) for name, value in values.items()}


def lines(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_train_line_averages_its_steps(tmp_path: Path) -> None:
    with log_of(tmp_path) as log:
        for step in range(1, 12):
            log.log_step(step, 0.01, metrics(loss=step))
        log.flush()
    first, second = lines(tmp_path)
    assert (first["step"], first["epoch"], first["split"]) == (5, 0.5, "train")
    assert first["loss"] == 3
    assert second["loss"] == 8
    assert second["learning_rate"] == 0.01
    assert {"top1_error", "top5_error", "grad_norm", "images_per_second"} <= second.keys()


def test_each_evaluation_is_a_line_with_the_best_so_far(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_of(tmp_path) as log:
        for step, (error, best) in enumerate([(0.25, math.inf), (0.125, 0.25), (0.5, 0.125)], 1):
            log.log_step(step, 0.01, metrics(loss=step))
            log.flush()
            values = {"loss": 1.0, "top1_error": error, "top5_error": 0.0}
            log.log_evaluation(step, "val", values, best)
    shown = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert [re.split("   (?=[a-z])", line) for line in shown] == [
        ["epoch   0.10", "train error 50.00%", "val error 25.00%", "best so far, saved"],
        ["epoch   0.20", "train error 50.00%", "val error 12.50%", "best so far, saved"],
        ["epoch   0.30", "train error 50.00%", "val error 50.00%", "best so far 12.50%"],
    ]


def test_all_writers_are_closed_if_one_fails(tmp_path: Path) -> None:
    class FullDisk(JsonLines):
        def close(self) -> None:
            super().close()
            raise OSError("the disk is full")

    last = JsonLines(tmp_path)
    log = log_of(tmp_path, writes=False)
    log._writers = [FullDisk(tmp_path), last]
    with pytest.raises(OSError, match="the disk is full"), log:
        pass
    assert last._file.closed


@pytest.mark.parametrize("task", ["write", "write_images", "finish", "close"])
def test_training_goes_on_without_a_service_that_is_lost(
    task: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    class Lost(Writer):
        service = "mlflow"

    def lose(*_: Any) -> None:
        calls.append(task)
        raise ConnectionError("refused\nagain")

    setattr(Lost, task, lose)
    log = log_of(tmp_path, every=1)
    log._writers.insert(0, Lost())
    with log:
        for step in (1, 2):
            log.log_step(step, 0.01, metrics(loss=step))
            log.show(step, {})
        log.flush()
        log.finish(2, {"loss": 2.0, "top1_error": 0.5, "top5_error": 0.25})
    assert calls == [task]
    assert caplog.text.count("mlflow gets no more metrics of this run: refused again") == 1
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_last_train_line_has_as_many_steps_as_the_others(tmp_path: Path) -> None:
    with log_of(tmp_path, total=12) as log:
        for step in range(1, 13):
            log.log_step(step, 0.01, metrics(loss=step))
        log.flush()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(5, 3), (10, 8), (12, 10)]


def test_train_line_averages_steps_before_and_after_an_interruption(tmp_path: Path) -> None:
    with log_of(tmp_path) as log:
        for step in range(1, 9):
            log.log_step(step, 0.01, metrics(loss=step))
        log.flush()
        pending = log.pending_metrics()
    assert [of_step["loss"] for of_step in pending] == [4, 5, 6, 7, 8]
    with log_of(tmp_path, start=8, pending_metrics=pending) as log:
        log.log_step(9, 0.01, metrics(loss=9))
        time.sleep(0.5)
        for step in range(10, 16):
            log.log_step(step, 0.01, metrics(loss=step))
        log.flush()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(5, 3), (10, 8), (15, 13)]
    assert lines(tmp_path)[1]["images_per_second"] < 2 * 64 / 0.5  # of two steps, not of five


def test_speed_leaves_out_the_time_of_evaluations(tmp_path: Path) -> None:
    with log_of(tmp_path, every=2) as log:
        log.log_step(1, 0.01, metrics(1))
        log.flush()
        time.sleep(0.5)
        log.log_evaluation(1, "test", {"loss": 1.0, "top1_error": 0.5, "top5_error": 0.25}, 0.6)
        log.log_step(2, 0.01, metrics(1))
        log.flush()
    evaluation, train = lines(tmp_path)
    assert evaluation["split"] == "test"
    assert train["images_per_second"] > 64 / 0.5


def test_speed_counts_from_the_first_step_on(tmp_path: Path) -> None:
    with log_of(tmp_path, every=1) as log:
        time.sleep(0.5)  # the step is compiled
        started = time.perf_counter()
        log.log_step(1, 0.01, metrics(1))
        log.flush()
        seconds = time.perf_counter() - started
    (train,) = lines(tmp_path)
    assert train["images_per_second"] > tiny.get_config().batch_size / seconds


class RunningStep:
    """A number that a device computes until `end`."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def block_until_ready(self) -> None:
        self.end.wait(60)

    def __float__(self) -> float:
        return 1.0


def slow_batches(seconds: float) -> Iterator[dict[str, Any]]:
    while True:
        time.sleep(seconds)
        yield {}


def test_devices_without_data_get_advice_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = slow_batches(0.05)
    with log_of(tmp_path, every=2) as log:
        for step in range(1, 11):
            log.wait_for(batches)
            log.log_step(step, 0.01, metrics(1))
        log.flush()
    waits = [line["data_wait"] for line in lines(tmp_path)]
    assert len(waits) == 5
    assert all(0.2 < wait < 1 for wait in waits)
    assert caplog.text.count("the devices waited for data") == 1
    assert "up to step 4" in caplog.text
    events = EventAccumulator(str(tmp_path / "events/train")).Reload()
    assert [e.value for e in events.Scalars("training/data_wait")] == pytest.approx(waits)


def test_data_that_come_during_a_step_cost_no_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches = slow_batches(0.05)
    with log_of(tmp_path, every=2) as log:
        for step in range(1, 11):
            running = RunningStep()
            log.log_step(step, 0.01, {**metrics(1), "loss": running})
            log.wait_for(batches)
            running.end.set()
        log.flush()
    assert [line["data_wait"] for line in lines(tmp_path)] == [0] * 5
    assert "the devices waited" not in caplog.text


def test_lines_after_the_checkpoint_are_dropped_on_resuming(tmp_path: Path) -> None:
    with log_of(tmp_path, every=1) as log:
        for step in range(1, 8):
            log.log_step(step, 0.01, metrics(step))
        log.flush()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "killed while wri')
    time.sleep(1.1)  # the names of event files tell seconds apart
    with log_of(tmp_path, start=4, every=1) as log:
        log.log_step(5, 0.01, metrics(50))
        log.flush()
    losses = [(line["step"], line["loss"]) for line in lines(tmp_path)]
    assert losses == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 50)]
    events = EventAccumulator(str(tmp_path / "events/train")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("metrics/loss")][-2:] == [(4, 4), (5, 50)]


@pytest.mark.parametrize(("loss", "grad_norm"), [(math.nan, 1), (math.inf, 1), (2, math.nan)])
def test_error_of_a_value_that_is_not_finite_names_the_step(
    loss: float, grad_norm: float, tmp_path: Path
) -> None:
    with log_of(tmp_path) as log:
        log.log_step(7, 0.01, metrics(loss, grad_norm))
        with pytest.raises(DivergedError, match=r"step 7: .*nan|step 7: .*inf"):
            log.log_step(8, 0.01, metrics(1))


@pytest.mark.parametrize("every", [1, 20, 60])
def test_loss_that_stays_at_chance_gets_one_warning(
    every: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with log_of(tmp_path, every=every, total=120) as log:
        for step in range(1, 121):
            log.log_step(step, 0.01, metrics(math.log(10)))
        log.flush()
    assert caplog.text.count("ln(classes) = 2.303") == 1


def test_only_the_main_process_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log_of(tmp_path, bar=ProgressBar(100, shown=False), writes=False) as log:
        for step in range(1, 101):
            log.log_step(step, 0.01, metrics(1.0))
        log.flush()
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "metrics.jsonl").exists()


def test_bar_adds_earlier_steps_to_those_of_other_runs(tmp_path: Path) -> None:
    with ProgressBar(200, shown=True) as bar:
        bar.start_run("2/2 again", 100)
        with log_of(tmp_path, start=8, bar=bar, writes=True) as log:
            for step in range(9, 12):
                log.log_step(step, 0.01, metrics(1))
            log.flush()
        assert bar.n == 111


def test_falling_loss_gets_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with log_of(tmp_path) as log:
        for step in range(1, 101):
            log.log_step(step, 0.01, metrics(2.2))
        log.flush()
    assert "ln(classes)" not in caplog.text


def test_run_directory_that_is_removed_ends_the_training(tmp_path: Path) -> None:
    with log_of(tmp_path, every=1) as log:
        log.log_step(1, 0.01, metrics(loss=1))
        log.flush()
        shutil.rmtree(tmp_path)
        log.log_step(2, 0.01, metrics(loss=1))
        with pytest.raises(CommandError, match=r"metrics\.jsonl: removed or moved during training"):
            log.flush()
