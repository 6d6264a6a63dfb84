"""Event files for TensorBoard."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from ...runs.metrics_file import read_metrics
from .base import COMPARED, FINAL, Settings, Writer

MAY_STAY = ("learning_rate", "data_wait", "top5_error", "examples")
"""Metrics that have a chart only once they have changed."""


class TensorBoard(Writer):
    """A chart of each metric, in which TensorBoard overlays the curves of the splits.

    A split's event files are in `events/SPLIT`, those of the whole run in the run directory.
    Events of steps after `start` are dropped.
    """

    def __init__(self, workdir: Path, start: int, settings: Settings):
        # Importing tensorboardX imports PyTorch where that is installed. Its usual writer leaves a
        # thread behind when a disk is full.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._summary, self._event, self._make_events = summary, Event, EventsWriter
        self._workdir = workdir
        self._start = {"step": start + 1, "session_log": SessionLog(status=SessionLog.START)}
        self._events: dict[str, Any] = {}
        self._changes = _Changes()
        for line in read_metrics(workdir):
            for name in line.keys() & set(MAY_STAY):
                self._changes.points(line["split"], name, line["step"], line[name])
        compared, final = (
            {name: settings[name] for name in COMPARED},
            dict.fromkeys(map(_tag, FINAL)),
        )
        experiment, session, self._end = summary.hparams(compared, final)
        self._add("", start, experiment, session, summary.text("configuration", _table(settings)))

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:  # noqa: ARG002
        for name, value in metrics.items():
            points = [(step, value)]
            if name in MAY_STAY:
                points = self._changes.points(split, name, step, value)
            for at, shown in points:
                self._add(f"events/{split}", at, self._scalar(name, shown))

    def write_images(self, step: int, images: dict[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._add("", step, self._summary.image(name, image, rescale=1, dataformats="HWC"))

    def finish(self, step: int, result: dict[str, Any]) -> None:
        names = [name for name in FINAL if name not in MAY_STAY or result[name]]
        final = [self._scalar(name, result[name]) for name in names]
        self._add("", step, *final, self._end)

    def close(self) -> None:
        for events in self._events.values():
            events.close()

    def _scalar(self, name: str, value: float) -> Any:
        return self._summary.scalar(_tag(name), value)

    def _add(self, directory: str, step: int, *summaries: Any) -> None:
        if directory not in self._events:
            prefix = self._workdir / directory / "events"
            prefix.parent.mkdir(parents=True, exist_ok=True)
            self._events[directory] = self._make_events(str(prefix))
            self._write(directory, **self._start)
        for summary in summaries:
            self._write(directory, step=step, summary=summary)
        self._events[directory].flush()

    def _write(self, directory: str, **content: Any) -> None:
        self._events[directory].write_event(self._event(wall_time=time.time(), **content))


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
