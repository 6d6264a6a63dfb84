"""Collects the metrics of each step, and hands means to the progress bar and to the writers."""

import collections
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import jax
import numpy as np

from ..errors import DivergedError
from ..writers import Writer
from .periods import Periods
from .progress_bar import ProgressBar
from .step import Batch, Metrics

logger = logging.getLogger(__name__)
ADVICE = (
    "train in another --workdir with a lower config.schedule.learning_rate; to start from this "
    "run's best weights, set config.init_from to this run and config.init_checkpoint=best"
)
WAITS = 0.2  # the share of time from which waiting for data is worth advice


class MetricLogger:
    """Reads the metrics of each step one step late, so that the device never waits for the host.

    Args:
      writers: of the main process; no writers in the others.
      bar: counts the steps; those done before must be counted already.
      periods: when a train line is due.
      batch_size: images per step, over all devices.
      num_classes: ln(num_classes) is the loss of a network that has learned nothing.
      pending_metrics: those of the last steps before the first; see the method of this name.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        bar: ProgressBar,
        periods: Periods,
        batch_size: int,
        num_classes: int,
        pending_metrics: Sequence[dict[str, float]] = (),
    ):
        self._writers = list(writers)
        self._bar = bar
        self._periods = periods
        self._batch_size = batch_size
        self._chance = math.log(num_classes)
        self._stuck_after: float = min(500, max(50, periods.total // 4))
        self._running: tuple[int, float, Metrics] | None = None  # the step that started last
        self._recent = collections.deque(pending_metrics, maxlen=periods.log_every)
        self._clock = _Clock()
        self._waits = 0.0  # train lines in a row; -∞ after the advice
        self._end_of_step: Future[float] | None = None  # of the step that started last
        self._observer = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._observer.shutdown(wait=False)
        with contextlib.ExitStack() as stack:  # closes all, even if one fails
            for writer in self._writers:
                stack.callback(self._ask, writer, lambda writer: writer.close())

    def wait_for(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; counts the time in which the devices had finished their step."""
        asked = time.perf_counter()
        batch = next(batches)
        if self._end_of_step and self._end_of_step.done():
            self._clock.data_wait += time.perf_counter() - max(asked, self._end_of_step.result())
        return batch

    def log_step(self, step: int, learning_rate: float, metrics: Metrics) -> None:
        """Takes the metrics of a step that has started, and reads those of the step before.

        Raises:
          DivergedError: the loss or the gradient of the step before is not finite.
        """
        self._clock.resume()
        previous, self._running = self._running, (step, learning_rate, metrics)
        self._end_of_step = self._observer.submit(_end_of, metrics)
        if previous is not None:
            self._read(*previous)

    def flush(self) -> None:
        """Waits for the step that started last and reads its metrics; the clock pauses.

        Raises:
          DivergedError: its loss or its gradient is not finite.
        """
        if self._running is not None:
            self._read(*self._running)
            self._running = self._end_of_step = None
            self._clock.pause()

    def pending_metrics(self) -> list[dict[str, float]]:
        """The metrics of the last `log_every` steps, for the next train line of a resumed run."""
        return list(self._recent)

    def log_evaluation(self, step: int, split: str, metrics: dict[str, float], best: float) -> None:
        """Writes a line of the evaluation split, and shows it.

        Args:
          step: the steps so far.
          split: the name of the evaluation split.
          metrics: of that split.
          best: the lowest top-1 error of the evaluations before.

        Raises:
          DivergedError: the loss is not finite: the weights already are not.
        """
        if not math.isfinite(metrics["loss"]):
            raise DivergedError(f"step {step}: the loss on {split} is {metrics['loss']}; {ADVICE}")
        self._write(step, split, metrics)
        error = metrics["top1_error"]
        shown = [f"epoch {self._periods.epoch(step):6.2f}"]
        if self._recent:
            shown.append(f"train error {self._mean()['top1_error']:6.2%}")
        shown.append(f"{split} error {error:6.2%}")
        shown.append("best so far, saved" if error < best else f"best so far {best:.2%}")
        self._bar.tell("   ".join(shown))

    def show(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Writes images of the network at an evaluation, uint8 (H, W, 3)."""
        self._ask_all(lambda writer: writer.write_images(step, images))

    def finish(self, step: int, result: dict[str, Any]) -> None:
        """Writes the result of the final evaluation."""
        self._ask_all(lambda writer: writer.finish(step, result))

    def _read(self, step: int, learning_rate: float, metrics: Metrics) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
            raise DivergedError(
                f"step {step}: the loss is {values['loss']}, the norm of its gradient "
                f"{values['grad_norm']}, with the learning rate {learning_rate:g}; {ADVICE}"
            )
        self._recent.append(values)
        self._clock.steps += 1
        self._bar.update()
        if self._periods.logs_at(step):
            self._log_train_line(step, learning_rate)

    def _log_train_line(self, step: int, learning_rate: float) -> None:
        steps_per_second, data_wait = self._clock.lap()
        speed = steps_per_second * self._batch_size
        mean = self._mean()
        line = {**mean, "learning_rate": learning_rate, "images_per_second": speed}
        line["data_wait"] = data_wait
        self._write(step, "train", line)
        shown = {"loss": f"{mean['loss']:.3f}", "error": f"{mean['top1_error']:.1%}"}
        if data_wait > WAITS:  # 80 columns have no room for the speed too
            shown["data wait"] = f"{data_wait:.0%}"
        else:
            shown["images/s"] = f"{speed:.0f}"
        self._bar.set_postfix(shown, refresh=False)
        self._advise_on_data(step, data_wait)
        if step >= self._stuck_after:
            self._stuck_after = math.inf
            self._warn_if_stuck(step, mean["loss"])

    def _warn_if_stuck(self, step: int, loss: float) -> None:
        if loss > 0.98 * self._chance:
            logger.warning(
                "after %d steps the loss is still %.3f, like that of a network that has learned "
                "nothing: ln(classes) = %.3f. Usual causes: initial weights too small for the size "
                "of the images (config.model.init='he' helps), a learning rate too low or too high "
                "(config.schedule.learning_rate), labels that do not belong to the images. The "
                "paper's own network stays there for some hundred steps.",
                step,
                loss,
                self._chance,
            )

    def _advise_on_data(self, step: int, data_wait: float) -> None:
        self._waits = self._waits + 1 if data_wait > WAITS else min(self._waits, 0)
        if self._waits == 2:  # the first line may be of a start
            self._waits = -math.inf
            logger.warning(
                "up to step %d, the devices waited for data %.0f%% of the time: give each process "
                "more CPU cores, more memory for decoded images (config.data.cache_gb), or smaller "
                "images (config.data.size)",
                step,
                100 * data_wait,
            )

    def _write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        epoch = self._periods.epoch(step)
        self._ask_all(lambda writer: writer.write(step, epoch, split, metrics))

    def _ask_all(self, task: Callable[[Writer], None]) -> None:
        for writer in tuple(self._writers):
            self._ask(writer, task)

    def _ask(self, writer: Writer, task: Callable[[Writer], None]) -> None:
        """Lets a writer do its task; gives up a service that fails, with a warning."""
        try:
            task(writer)
        except Exception as error:
            if not writer.service:
                raise
            self._writers.remove(writer)
            reason = " ".join(str(error).split()) or type(error).__name__
            logger.warning("%s gets no more metrics of this run: %s", writer.service, reason)

    def _mean(self) -> dict[str, float]:
        """Of `log_every` steps also at the end: a mean of fewer would be a kink in plots."""
        names = self._recent[0]
        return {name: float(np.mean([step[name] for step in self._recent])) for name in names}


def _end_of(metrics: Metrics) -> float:
    """When the devices have computed the metrics."""
    jax.block_until_ready(metrics)
    return time.perf_counter()


class _Clock:
    """The speed of training from the first step on, without evaluations and checkpoints."""

    def __init__(self) -> None:
        self.steps = 0
        self.data_wait = 0.0  # seconds
        self._since = time.perf_counter()
        self._paused: float | None = self._since

    def pause(self) -> None:
        self._paused = time.perf_counter()

    def resume(self) -> None:
        if self._paused is not None:
            self._since += time.perf_counter() - self._paused
            self._paused = None

    def lap(self) -> tuple[float, float]:
        """Steps per second and the share of time spent waiting for data, since the last call."""
        now = time.perf_counter()
        seconds = now - self._since
        lap = self.steps / seconds, self.data_wait / seconds
        self._since, self.steps, self.data_wait = now, 0, 0.0
        return lap
