"""The faults of benchmarks/faults.py: each function strikes one run and says what it did."""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.fault_runs import LOST_AFTER, STEPS, STOPPED_AT, Run, Sandbox

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1)
RUN_FILES = ("config.json", "metrics.jsonl", "preprocessing.npz", "origin.json", "lock")
FINISHED_FILES = ("result.json", "config.json", "preprocessing.npz")
STRANGERS = {
    "closes": b"",
    "is silent": None,
    "speaks HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "speaks TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "is of another run": b'{"index": 1, "count": 3}\n',
    "has index 99": b'{"index": 99, "count": 2}\n',
    "sends brackets": b"[" * 1000 + b"\n",
    "sends noise": bytes(range(256)) * 4,
}


class Case:
    """A run, and the random choices about the fault that strikes it."""

    def __init__(self, sandbox: Sandbox, number: int):
        self.sandbox, self.random = sandbox, random.Random(number)
        self.kind = self.random.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        self.processes = 2 if self.kind in FOR_TWO else self.random.choice((1, 1, 2))
        self.state = self.random.choice(STATES.get(self.kind, ANY_STATE))
        self.signals: set[int] = set()  # that processes got
        self.mend: Callable[[], None] | None = None  # undoes the fault
        self.damaged: Path | None = None
        self.is_at_rest = False  # whether the fault came before the run's start
        self.run: Run | None = None

    def strike(self) -> str:
        """Starts the run, strikes it, and returns what was done."""
        self.sandbox.reset(self.state, self.processes)
        function, _ = KINDS[self.kind]
        return function(self)

    def start(self) -> Run:
        self.run = Run(self.sandbox, self.processes)
        return self.run

    def wait_for_moment(self, run: Run) -> str:
        """Waits for a random time since the start, or for a random step."""
        if self.random.random() < 0.5:
            seconds = self.random.uniform(0, 1.1 * self.sandbox.seconds)
            run.wait_for(lambda: time.monotonic() - run.started > seconds)
            moment = f"after {seconds:.2f} s"
        else:
            step = self.random.randint(STOPPED_AT + 1 if self.state == "stopped" else 1, STEPS)
            run.wait_for(lambda: run.steps_done() >= step)
            time.sleep(self.random.uniform(0, 0.05))
            moment = f"at step {step}"
        return moment + ", too late" * run.has_ended

    def choose_processes(self) -> list[int]:
        """One process or all."""
        some = [[index] for index in range(self.processes)]
        return self.random.choice([*some, list(range(self.processes))])

    def choose_file(self, directory: Path) -> Path:
        return self.random.choice(sorted(path for path in directory.rglob("*") if path.is_file()))

    def set_aside(self, path: Path) -> None:
        """Copies a file or directory; mending brings it back, with its times."""
        aside = self.sandbox.work / "aside"
        shutil.rmtree(aside, ignore_errors=True)
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        aside.mkdir()
        copy(path, aside / path.name)
        self.damaged = path

        def mend() -> None:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if path.parent.is_dir():  # else an old checkpoint that was removed
                copy(aside / path.name, path)

        self.mend = mend


def kill(case: Case) -> str:
    """kill -9, up to three times."""
    done = []
    for _ in range(case.random.randint(1, 3)):
        run, victims = case.start(), case.choose_processes()
        case.signals.add(signal.SIGKILL)
        done.append(f"{case.wait_for_moment(run)} of {victims}")
        for index in victims:
            run.signal(index, signal.SIGKILL)
        if not any(run.wait()):
            break
    return "; ".join(done)


def kill_helper(case: Case) -> str:
    """kill -9 of a process that reads images, or of the one that forked it."""
    run = case.start()
    moment = case.wait_for_moment(run)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        children = psutil.Process(case.random.choice(run.ids)).children(recursive=True)
        helper = case.random.choice(children)
        what = "their parent" if helper.ppid() in run.ids else "a reader"
        helper.kill()
        return f"{what} {moment}"
    return f"{moment}, too late"


def stop(case: Case) -> str:
    """SIGTERM and its like."""
    run, victims, number = case.start(), case.choose_processes(), case.random.choice(SIGNALS)
    case.signals.add(number)
    moment = case.wait_for_moment(run)
    for index in victims:
        run.signal(index, number)
    return f"{number.name} {moment} to {victims}"


def suspend(case: Case) -> str:
    """SIGSTOP and SIGCONT."""
    run, victims = case.start(), case.choose_processes()
    seconds = case.random.choice((0.3, LOST_AFTER + 2))
    moment = case.wait_for_moment(run)
    for index in victims:
        run.signal(index, signal.SIGSTOP)
    time.sleep(seconds)
    for index in victims:
        run.signal(index, signal.SIGCONT)
    return f"{moment} {victims} for {seconds:g} s"


def fill_disk(case: Case) -> str:
    """Leaves a few bytes on the file system of the run."""
    left = case.random.choice(
        (0, 4096, case.random.randrange(1 << 16), case.random.randrange(1 << 19))
    )
    run = case.start()
    moment = case.wait_for_moment(run)
    filler = case.sandbox.disk / "filler"
    status = os.statvfs(case.sandbox.disk)
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - left))
    case.mend = lambda: filler.unlink(missing_ok=True)
    return f"{left} bytes left {moment}"


def limit_files(case: Case) -> str:
    """A limit on the size of files, as a quota has."""
    run = case.start()
    moment, size = case.wait_for_moment(run), case.random.choice((4000, 20_000, 50_000))
    for process in run.ids:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, -1))
    return f"{size} bytes {moment}"


def damage_checkpoint(case: Case) -> str:
    checkpoints = (case.sandbox.now / "run/checkpoints").iterdir()
    newest = max(checkpoints, key=lambda path: int(path.name))
    return _damage(case, case.choose_file(case.random.choice((newest, newest, newest.parent))))


def damage_prepared(case: Case) -> str:
    return _damage(case, case.choose_file(case.sandbox.now / "prepared"))


def damage_run(case: Case) -> str:
    files = FINISHED_FILES if case.state == "finished" else RUN_FILES
    return _damage(case, case.sandbox.now / "run" / case.random.choice(files))


def damage_photo(case: Case) -> str:
    return _damage(case, case.choose_file(case.sandbox.now / "photos"))


def remove_directory(case: Case) -> str:
    """Removes a directory of the run, of the prepared data or of the photographs."""
    below = [case.sandbox.now / name for name in ("run", "prepared", "photos")]
    directories = [path for top in below for path in top.rglob("*") if path.is_dir()]
    path = case.random.choice(sorted([*directories, *below]))
    case.set_aside(path)
    shutil.rmtree(path)
    case.is_at_rest = True
    case.start()
    return f"{path.relative_to(case.sandbox.now)}"


def lose_file(case: Case) -> str:
    """Moves a file away while the run trains."""
    run = case.start()
    moment = case.wait_for_moment(run)
    try:
        file = case.choose_file(case.sandbox.now)
        aside = case.sandbox.disk / "aside"
        file.rename(aside)
    except OSError:  # the run has just removed it
        return f"{moment}, too late"
    case.damaged = file

    def mend() -> None:
        if file.parent.is_dir():
            aside.replace(file)

    case.mend = mend
    return f"{file.relative_to(case.sandbox.now)} {moment}"


def _damage(case: Case, path: Path) -> str:
    """Damages a file before the run starts."""
    case.set_aside(path)
    content = bytearray(path.read_bytes())
    place = case.random.randrange(max(1, len(content)))
    how = case.random.choice(("flipped", "flipped", "cut", "empty", "zeros", "removed"))
    match how:
        case "flipped" if content:
            content[place] ^= 1 << case.random.randrange(8)
        case "cut":
            content = content[:place]
        case "empty":
            content.clear()
        case "zeros":
            content[place : place + 4096] = bytes(len(content[place : place + 4096]))
    path.write_bytes(content)
    if how == "removed":
        path.unlink()
    case.is_at_rest = True
    case.start()
    return f"{path.relative_to(case.sandbox.now)} {how} at {place}"


def call_port(case: Case) -> str:
    """A stranger connects to a port of a run of two processes."""
    which = case.random.choice((0, 1))
    who, greeting = case.random.choice(list(STRANGERS.items()))
    times, resets = case.random.choice((1, 3)), case.random.random() < 0.3
    run, callers = case.start(), []
    if which == 0:
        run.signal(1, signal.SIGSTOP)  # else nobody listens for long
    else:
        time.sleep(case.random.choice((0, case.random.uniform(0, case.sandbox.seconds / 2))))
    while len(callers) < times and not run.has_ended and not run.steps_done():
        try:
            caller = socket.create_connection(("127.0.0.1", run.ports[which]), timeout=1)
            caller.sendall(greeting or b"")
            callers.append(caller)
        except OSError:
            time.sleep(0.001)
            continue
        if resets:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if greeting is not None:
            caller.close()
    run.signal(1, signal.SIGCONT)
    run.wait()
    for caller in callers:
        caller.close()
    port = ("our", "JAX's")[which]
    return f"{len(callers)} on {port} port, who {who}" + ", too late" * (not callers)


KINDS: dict[str, tuple[Callable[[Case], str], int]] = {  # with how often they are drawn
    "kill -9": (kill, 5),
    "signal": (stop, 5),
    "kill -9 of a reader": (kill_helper, 3),
    "suspension": (suspend, 4),
    "full disk": (fill_disk, 5),
    "limit on files": (limit_files, 2),
    "damaged checkpoint": (damage_checkpoint, 6),
    "damaged prepared data": (damage_prepared, 5),
    "damaged run": (damage_run, 6),
    "damaged photograph": (damage_photo, 2),
    "missing directory": (remove_directory, 3),
    "file lost in training": (lose_file, 3),
    "stranger": (call_port, 3),
}
ANY_STATE = ("new", *["prepared"] * 2, *["stopped"] * 3)
STATES = {
    "damaged checkpoint": ("stopped",),
    "damaged prepared data": ("prepared", "stopped"),
    "damaged run": ("stopped", "stopped", "finished"),
    "damaged photograph": ("stopped",),
    "missing directory": ("stopped",),
}
FOR_TWO = ("stranger",)
