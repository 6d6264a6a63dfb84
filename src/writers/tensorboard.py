"""Event files for TensorBoard."""

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..runs.metrics_file import read_metrics
from .base import COMPARED, FINAL, Settings, Writer

MAY_STAY = ("learning_rate", "data_wait", "top5_error", "examples")
"""Metrics that have a chart only once they have changed."""


class TensorBoard(Writer):
    """A chart of each metric, in which TensorBoard overlays the curves of the splits.

    A split's event files are in `events/SPLIT`, those of the whole run in the run directory.
    Events of steps after `start` are dropped.
    """

    def __init__(self, workdir: Path, start: int, settings: Settings):
        self._workdir, self._first, self._settings = workdir, start, settings
        self._events: dict[str, Any] = {}
        self._changes = _Changes()
        for line in read_metrics(workdir):
            for name in line.keys() & set(MAY_STAY):
                self._changes.points(line["split"], name, line["step"], line[name])

    @functools.cached_property
    def _library(self) -> Any:
        # Its import takes a second where PyTorch is installed: the first step need not wait for it.
        import tensorboardX.summary

        return tensorboardX

    @functools.cached_property
    def _hparams(self) -> tuple[Any, Any, Any]:
        """The summaries that describe the run's settings, begin and end."""
        compared = {name: self._settings[name] for name in COMPARED}
        return self._library.summary.hparams(compared, dict.fromkeys(map(_tag, FINAL)))

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:  # noqa: ARG002
        for name, value in metrics.items():
            points = [(step, value)]
            if name in MAY_STAY:
                points = self._changes.points(split, name, step, value)
            for at, shown in points:
                self._add(f"events/{split}", at, self._scalar(name, shown))

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        for name, image in images.items():
            picture = self._library.summary.image(name, image, rescale=1, dataformats="HWC")
            self._add("", step, picture)

    def finish(self, step: int, result: dict[str, Any]) -> None:
        names = [name for name in FINAL if name not in MAY_STAY or result[name]]
        final = [self._scalar(name, result[name]) for name in names]
        self._add("", step, *final, self._hparams[2])

    def close(self) -> None:
        for events in self._events.values():
            events.close()

    def _scalar(self, name: str, value: float) -> Any:
        return self._library.summary.scalar(_tag(name), value)

    def _add(self, directory: str, step: int, *summaries: Any) -> None:
        if not self._events:
            text = self._library.summary.text("configuration", _table(self._settings))
            self._open("")
            self._write("", self._first, *self._hparams[:2], text)
        if directory not in self._events:
            self._open(directory)
        self._write(directory, step, *summaries)

    def _open(self, directory: str) -> None:
        # The library's usual writer leaves a thread behind when a disk is full.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        prefix = self._workdir / directory / "events"
        prefix.parent.mkdir(parents=True, exist_ok=True)
        self._events[directory] = EventsWriter(str(prefix))
        start = SessionLog(status=SessionLog.START)
        event = Event(wall_time=time.time(), step=self._first + 1, session_log=start)
        self._events[directory].write_event(event)

    def _write(self, directory: str, step: int, *summaries: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        for summary in summaries:
            event = Event(wall_time=time.time(), step=step, summary=summary)
            self._events[directory].write_event(event)
        self._events[directory].flush()


def _tag(name: str) -> str:
    """The name of a chart, with its section: what all splits have comes first."""
    return f"{'metrics' if name in FINAL else 'training'}/{name}"


class _Changes:
    """Holds back the points of a metric until its value changes."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._changed: set[tuple[str, str]] = set()

    def points(self, split: str, name: str, step: int, value: float) -> list[tuple[int, float]]:
        """The points to draw now; with the first change, also the ends of the constant part."""
        metric, point = (split, name), (step, value)
        if metric in self._changed:
            return [point]
        held = self._held.get(metric, [])
        if not held or value == held[0][1]:
            self._held[metric] = [*held[:1], point]
            return []
        self._changed.add(metric)
        return [*held, point]


def _table(settings: Settings) -> str:
    rows = (f"| {name} | `{value!r}` |" for name, value in settings.items())
    return "\n".join(["| field | value |", "|---|---|", *rows])
