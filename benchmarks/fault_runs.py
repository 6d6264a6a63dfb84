"""The miniature runs of benchmarks/faults.py: their files, their processes and their endings.

A run trains 24 steps on 48 generated photographs. Its processes are forked from one that has
imported everything, so that a run takes three seconds and not ten.
"""

import atexit
import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from src.cli import app
from src.distributed.devices import avoid_compiler_plugin
from src.errors import EXIT_LOST_PROCESS, EXIT_PREEMPTED
from src.filesystem import write_json
from src.inference.classifier import load
from src.runs.results import read_result, write_evaluation

RECIPE = Path(__file__).parents[1] / "tests/support/pod_recipe.py"
IMPORTED = ["src.main", "tensorflow", "tensorflow_datasets", "tensorboardX", __name__]
IMPORTED += ["tensorflow_datasets.proto.tf_example_pb2"]
STEPS, STOPPED_AT, CLASSES = 24, 13, 3
LOST_AFTER = 3.0  # seconds
LIMIT = 90.0  # seconds that a run may take on a busy machine
BYTES = 64 << 20  # of the file system that holds a run
RESTART = (0, EXIT_LOST_PROCESS, EXIT_PREEMPTED)
PR_SET_PDEATHSIG = 1  # of Linux's prctl
PROGRESS_BAR = re.compile(r"\s*([\w ]+:)?\s*\d+%\|")
OF_JAX = re.compile(
    r"\[Gloo\]|[EF]\d{4} .*(coordination|distributed service)|Additional GRPC|:UNKNOWN"
)
NOISE = re.compile(
    r"Traceback|^\s+File \"|^[EFW]\d{4} |terminate called|Fatal|warnings\.warn", re.M
)


def arguments(lost_after: float) -> list[str]:
    return [
        f"--config={RECIPE}",
        "--config.data.dataset=folder:photos",
        "--config.data.root=prepared",
        "--config.batch_size=8",
        f"--config.duration={STEPS} steps",
        "--config.checkpoint_every=4 steps",
        "--workdir=run",
        f"--config.processes.lost_after={lost_after}",
        "--config.processes.join_within=20",
        "--config.processes.stuck_after=60",
    ]


def _train(variables: dict[str, str], log: Path, directory: Path, fills_cache: bool) -> None:
    """Becomes `python -m src.main` in a forked process."""
    from src import main

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(directory)
    os.environ |= variables
    sys.argv = ["main.py", *arguments(60 if fills_cache else LOST_AFTER)]
    sys.argv.append(f"--cpu_devices={variables['NUM_PROCESSES']}")
    # A killed process may leave an incomplete program in the cache.
    seconds = 0 if fills_cache else 1e9
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    try:
        app.run(main.main, main.FLAGS, main.__doc__)
    finally:
        atexit._run_exitfuncs()  # noqa: SLF001 - which forked processes skip


class Run:
    """The processes of a run, which have just started."""

    def __init__(self, sandbox: "Sandbox", count: int):
        self.ports = _free_ports()
        self.started = time.monotonic()
        self._metrics = sandbox.now / "run" / "metrics.jsonl"
        self._logs = [sandbox.work / f"log-{index}.txt" for index in range(count)]
        self._processes: list[Any] = []
        for index, log in enumerate(self._logs):
            log.unlink(missing_ok=True)
            variables = {
                "COORDINATOR_ADDRESS": f"127.0.0.1:{self.ports[0]}",
                "JAX_PORT": str(self.ports[1]),
                "NUM_PROCESSES": str(count),
                "PROCESS_ID": str(index),
                "LOCAL_PROCESSES": str(count),
                "LOCAL_PROCESS_ID": str(index),
            }
            process = sandbox.context.Process(
                target=_train, args=(variables, log, sandbox.now, sandbox.fills_cache)
            )
            process.start()
            self._processes.append(process)

    def signal(self, index: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.ids[index], number)

    @property
    def has_ended(self) -> bool:
        return all(process.exitcode is not None for process in self._processes)

    def steps_done(self) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return json.loads(self._metrics.read_text().splitlines()[-1])["step"]
        return 0

    @property
    def ids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        while not self.has_ended and not condition():
            time.sleep(0.002)

    def wait(self) -> list[int | None]:
        """Waits for the end; returns the statuses, None for a process that hung."""
        deadline = time.monotonic() + LIMIT
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        statuses = [process.exitcode for process in self._processes]
        for process in self._processes:
            process.kill()
            process.join()
        return statuses

    def output(self) -> str:
        return "".join(log.read_text(errors="replace") for log in self._logs if log.exists())

    def complaint(self, statuses: list[int | None], signals: Collection[int]) -> str:
        """What is wrong with how the processes ended, or "" if nothing is."""
        ended_by = {-number for number in signals} | {128 + number for number in signals}
        for status, log in zip(statuses, self._logs, strict=True):
            text = log.read_text(errors="replace") if log.exists() else ""
            lines = [line.rpartition("\r")[2] for line in text.split("\n")]
            lines = [line for line in lines if line.strip() and not PROGRESS_BAR.match(line)]
            if status == EXIT_LOST_PROCESS:
                lines = [line for line in lines if not OF_JAX.match(line)]
            errors = [line for line in lines if line.startswith("error: ")]
            if status is None:
                return "hung"
            if status in ended_by:
                continue
            if NOISE.search("\n".join(lines)) or len(lines) > 12:
                return "noise"
            if status not in (1, 2, *RESTART):
                return f"status {status}"
            if status in (1, 2, EXIT_LOST_PROCESS) and len(errors) != 1:
                return f"{len(errors)} error lines"
        return ""


class Sandbox:
    """The directory of the runs, on a small file system of its own where root may mount one.

    Attributes:
      now: the files of the run that a fault strikes; its path is always the same.
      seconds: what an undisturbed run takes.
    """

    def __init__(self, work: Path):
        self.work = work
        self.disk, self.now = work / "disk", work / "disk" / "now"
        self.seconds = 60.0
        self.fills_cache = False
        self._endings: dict[str, Any] = {}
        avoid_compiler_plugin()
        self._unmount()  # what a killed campaign has left
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir(parents=True)
        os.environ |= {
            "JAX_COMPILATION_CACHE_DIR": str(work / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(IMPORTED)

    def __enter__(self) -> "Sandbox":
        options = ["-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs"]
        subprocess.run(["mount", *options, self.disk], capture_output=True)
        known = self.work / "states" / "endings.json"
        if not known.exists():
            self.fills_cache = True
            shutil.rmtree(known.parent, ignore_errors=True)
            for count in (1, 2):
                self._make_states(count)
            write_json(known, [self.seconds, self._endings])
            self.fills_cache = False
        self.seconds, self._endings = json.loads(known.read_text())
        return self

    def __exit__(self, *exc: object) -> None:
        for process in multiprocessing.active_children():
            process.kill()
        self._unmount()

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.disk], capture_output=True)

    def reset(self, state: str, count: int) -> None:
        """Brings back the files of a run that is new, prepared, stopped or finished."""
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(self.work / "states" / f"{state}-{count}", self.now)

    def _make_states(self, count: int) -> None:
        def keep(state: str) -> None:
            shutil.copytree(self.now, self.work / "states" / f"{state}-{count}")

        shutil.rmtree(self.now, ignore_errors=True)
        _make_photos(self.now / "photos")
        keep("new")
        self._finish(count)
        keep("finished")
        self._endings[str(count)] = self._ending()
        shutil.rmtree(self.now / "run")
        keep("prepared")
        run = Run(self, count)
        run.wait_for(lambda: run.steps_done() >= STOPPED_AT)
        run.signal(0, signal.SIGTERM)
        if set(run.wait()) != {EXIT_PREEMPTED}:
            raise SystemExit(f"a run of {count} could not be stopped: {run.output()}")
        write_evaluation(self.now / "run", {"step": 12, "views": 9, "top1_error": 0.5})
        keep("stopped")
        for state in ("stopped", "prepared"):  # also fills the cache
            self.reset(state, count)
            self._finish(count)
            if difference := self.difference(count):
                raise SystemExit(f"undisturbed runs of {count} differ in {difference}")

    def _finish(self, count: int) -> None:
        run = Run(self, count)
        if any(run.wait()):
            raise SystemExit(f"an undisturbed run of {count} failed: {run.output()}")
        self.seconds = min(self.seconds, time.monotonic() - run.started)

    def difference(self, count: int) -> str:
        """In what the run differs from the undisturbed one; "" if in nothing."""
        ending = self._ending().items()
        pairs = zip(ending, self._endings[str(count)].values(), strict=True)
        return " and ".join(name for (name, value), expected in pairs if value != expected)

    def _ending(self) -> dict[str, Any]:
        workdir = self.now / "run"
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        result = read_result(workdir)
        classifier = load(workdir)  # also proves that the run can be used
        leaves = jax.tree.leaves(classifier.params)
        parameters = b"".join(np.asarray(leaf).tobytes() for leaf in leaves)
        return {
            "step": classifier.step,
            "parameters": hashlib.sha256(parameters).hexdigest(),
            "metrics": [_without_times(json.loads(line)) for line in lines],
            "result": _without_times(result),
        }


def _without_times(line: dict[str, Any]) -> dict[str, Any]:
    times = re.compile("second|machine|data_wait")
    return {name: value for name, value in line.items() if not times.search(name)}


def _make_photos(folder: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 5)):
        for label in range(CLASSES):
            directory = folder / split / f"class {label}"
            directory.mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 200, (80, 90, 3), dtype=np.uint8)
                image[:, :, label] += np.uint8(random.integers(0, 30))
                cv2.imwrite(str(directory / f"{number}.jpg"), image)


def _free_ports() -> tuple[int, int]:
    any_port = ("127.0.0.1", 0)
    with socket.create_server(any_port) as one, socket.create_server(any_port) as other:
        return one.getsockname()[1], other.getsockname()[1]
