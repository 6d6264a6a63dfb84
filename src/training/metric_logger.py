"""What a run tells about itself: the progress bar, metrics.jsonl and TensorBoard."""

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import jax
import numpy as np
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from ..errors import DivergedError
from ..filesystem import atomic_write
from ..runs.metrics_file import complete_lines
from .progress import ProgressBar
from .step import Metrics


class MetricLogger:
    """Reads each step's metrics one step late, so that the device never waits for the host.

    Args:
      workdir: holds metrics.jsonl and the event files. Lines after `start` are of a run that was
        killed before its next checkpoint, and are dropped.
      config: its `log_every` is how many steps a train line is the mean of.
      start: steps done before.
      evaluated: the step of the last evaluation that the checkpoint knows of.
      total: steps of the whole run.
      steps_per_epoch: turns steps into epochs.
      classes: ln(classes) is the loss of a network that has learnt nothing.
      bar: counts its steps, also those done before.
      writes: whether to write anything; else just looks out for divergence, as all processes must.
      unlogged: the metrics of the steps before `start` that no train line has yet.
    """

    def __init__(
        self,
        workdir: Path,
        config: ConfigDict,
        start: int,
        evaluated: int,
        total: int,
        steps_per_epoch: Fraction,
        classes: int,
        bar: ProgressBar,
        writes: bool,
        unlogged: Sequence[dict[str, float]] = (),
    ):
        self._path = workdir / "metrics.jsonl" if writes else Path(os.devnull)
        self._every = config.log_every
        self._steps_per_epoch = steps_per_epoch
        self._global_batch = config.batch_size
        self._chance = math.log(classes)
        self._stuck_after: float = min(500, max(50, total // 4))
        self._pending: tuple[int, float, Metrics] | None = None
        self._read = list(unlogged)
        self._timed = 0
        self._since = time.perf_counter()
        self._paused: float | None = None
        self._shown: dict[str, str] = {}
        self._total = total
        self._writes = writes
        if writes:
            self._truncate(start, evaluated)
        self._file = self._path.open("a")
        self._events = SummaryWriter(str(workdir), purge_step=start + 1, write_to_disk=writes)
        self._bar = bar
        self._bar.advance_to(self._bar.n + start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._events.close()

    def step(self, step: int, rate: float, metrics: Metrics) -> None:
        """Takes the metrics of a step that was started, and reads those of the one before.

        Raises:
          DivergedError: the one before had a loss or a gradient that is not finite.
        """
        if self._paused is not None:  # what was done meanwhile is no part of the training speed
            self._since += time.perf_counter() - self._paused
            self._paused = None
        previous, self._pending = self._pending, (step, rate, metrics)
        if previous is not None:
            self._digest(*previous)

    def catch_up(self) -> None:
        """Waits for the step that was started last and reads its metrics.

        Raises:
          DivergedError: its loss or its gradient is not finite.
        """
        if self._pending is not None:
            self._digest(*self._pending)
            self._pending = None
            self._paused = time.perf_counter()

    def unlogged(self) -> list[dict[str, float]]:
        """The metrics of the steps since the last train line, which a resumed run's next needs."""
        return list(self._read)

    def evaluation(self, step: int, split: str, values: dict[str, float]) -> None:
        """Writes a line of the evaluation split.

        Raises:
          DivergedError: the loss is not finite: the step before the evaluation was one too far.
        """
        if not math.isfinite(values["loss"]):
            raise DivergedError(
                f"step {step}: the loss on {split} is {values['loss']}; a lower learning rate "
                "(config.schedule.learning_rate) usually helps"
            )
        self._write(step, split, values)
        self._shown[f"{split} top-1 error"] = f"{values['top1_error']:.1%}"
        self._bar.set_postfix(self._shown, refresh=False)

    def _digest(self, step: int, rate: float, metrics: Metrics) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
            raise DivergedError(
                f"step {step}: the loss is {values['loss']}, the norm of its gradient "
                f"{values['grad_norm']}, with the learning rate {rate:g}; a lower one usually helps"
            )
        self._read.append(values)
        self._timed += 1
        self._bar.update()
        if step % self._every == 0 or step == self._total:
            self._summarize(step, rate)

    def _summarize(self, step: int, rate: float) -> None:
        now = time.perf_counter()
        speed = self._timed * self._global_batch / (now - self._since)
        mean = {name: float(np.mean([v[name] for v in self._read])) for name in self._read[0]}
        self._write(step, "train", {**mean, "learning_rate": rate, "images_per_second": speed})
        self._shown |= {
            "loss": f"{mean['loss']:.3f}",
            "top-1 error": f"{mean['top1_error']:.1%}",
            "images/s": f"{speed:.0f}",
        }
        self._bar.set_postfix(self._shown, refresh=False)
        self._since, self._timed, self._read = now, 0, []
        if step >= self._stuck_after and self._writes:
            self._stuck_after = math.inf
            self._warn_if_stuck(step, mean["loss"])

    def _warn_if_stuck(self, step: int, loss: float) -> None:
        if loss > 0.98 * self._chance:
            self._bar.write(
                f"after {step} steps the loss is still {loss:.3f}, like that of a network "
                f"that knows nothing: ln(classes) = {self._chance:.3f}. Usual causes: initial "
                "weights too small for the size of the images (config.model.init='he' helps), a "
                "learning rate too low or too high (config.schedule.learning_rate), labels that don't "
                "belong to the images. The paper's own network stays there for some hundred steps.",
                file=sys.stderr,
            )

    def _write(self, step: int, split: str, values: dict[str, float]) -> None:
        line = {
            "step": step,
            "epoch": float(step / self._steps_per_epoch),
            "split": split,
            **values,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def _truncate(self, start: int, evaluated: int) -> None:
        def is_kept(line: str) -> bool:
            values = json.loads(line)
            return values["step"] <= (start if values["split"] == "train" else evaluated)

        if self._path.exists():
            kept = [line for line in complete_lines(self._path) if is_kept(line)]
            with atomic_write(self._path) as incomplete:
                incomplete.write_text("".join(kept))
