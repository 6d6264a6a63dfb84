"""Several processes, started by launch/run.sh, train what one would, and end together."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.errors import EXIT_PREEMPTED, LostProcessError
from tests.support.commands import ROOT, environment, free_port, run
from tests.support.runs import arguments, assert_same_run, steps_done

pytestmark = pytest.mark.slow

KILL_WAIT = 30  # seconds after which Slurm and Kubernetes by default kill what has not ended


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and compiled programs, made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def alone(cache: Path) -> Path:
    """An uninterrupted run of one process, on a mesh of 2 × 2."""
    workdir = cache / "alone"
    done = run("src.main", *arguments(workdir, cache, "--cpu_devices=4"), cache=cache)
    assert done.returncode == 0, done.stderr
    return workdir


class Launched:
    """What launch/run.sh started; the processes of the training by their number."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process

    def pids(self) -> dict[int, int]:
        ours = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                environment = (directory / "environ").read_bytes().decode().split("\0")
                command = (directory / "cmdline").read_bytes().decode()
                group = os.getsid(int(directory.name))
            except (OSError, UnicodeDecodeError):
                continue
            if group == self._process.pid and "src.main" in command and "several" not in command:
                variables = dict(entry.split("=", 1) for entry in environment if "=" in entry)
                ours[int(variables["PROCESS_ID"])] = int(directory.name)
        return ours

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> tuple[int, str]:
        out, err = self._process.communicate(timeout=300)
        return self._process.returncode, out + err

    def kill(self) -> None:
        for pid in self.pids().values():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


@contextmanager
def launch(workdir: Path, cache: Path, processes: int, *more: str) -> Iterator[Launched]:
    process = subprocess.Popen(
        [ROOT / "launch/run.sh", *arguments(workdir, cache, *more)],
        env={
            **environment(cache),
            "LOCAL_PROCESSES": str(processes),
            "PYTHON": sys.executable,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    launched = Launched(process)
    try:
        yield launched
    finally:
        if launched.is_running():
            launched.kill()


def wait_for_step(launched: Launched, workdir: Path, step: int) -> None:
    while launched.is_running() and steps_done(workdir) < step:
        time.sleep(0.01)
    assert launched.is_running(), launched.end()


def finish(workdir: Path, cache: Path, processes: int, *more: str) -> str:
    with launch(workdir, cache, processes, *more) as launched:
        status, output = launched.end()
    assert status == 0, output
    return output


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_train_what_one_does(
    processes: int, tmp_path: Path, cache: Path, alone: Path
) -> None:
    output = finish(tmp_path, cache, processes, "--cpu_devices=4")
    assert_same_run(tmp_path, alone, tolerance=1e-6)
    assert output.count("finished in") == 1
    assert output.count(" 0/24 ") == 1  # one progress bar
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines].count(24) == 2  # a train and a test line


def test_two_processes_train_a_tower_each_and_one_prepares_the_data(
    tmp_path: Path, cache: Path, alone: Path
) -> None:
    root = f"--config.data.root={tmp_path / 'prepared'}"
    output = finish(tmp_path / "run", cache, 2, "--cpu_devices=2", root)
    assert_same_run(tmp_path / "run", alone, tolerance=1e-5)
    assert output.count("1437/1437") == 1  # images prepared, by one process


ROWS = """
import os
from configs.alexnet import paper
from src.distributed.mesh import local_rows, make_mesh
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
config = paper("digits")
config.mesh.data, config.mesh.model = os.environ["DATA"], os.environ["MODEL"]
with ProcessGroup(process_info(os.environ), config.processes):
    mesh = make_mesh(config.mesh, towers=2, batch_size=8)
    print(*local_rows(mesh, 8))
"""


@pytest.mark.parametrize(
    ("data", "model", "rows"),
    [("2", "1", ["0 1 2 3", "4 5 6 7"]), ("1", "2", ["0 1 2 3 4 5 6 7"] * 2)],
    ids=["of two data shards", "of two towers"],
)
def test_each_process_reads_the_rows_of_its_devices(
    data: str, model: str, rows: list[str], cache: Path
) -> None:
    coordinator = f"127.0.0.1:{free_port()}"
    contract = {
        "COORDINATOR_ADDRESS": coordinator,
        "NUM_PROCESSES": "2",
        "DATA": data,
        "MODEL": model,
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ROWS],
            cwd=ROOT,
            env={**environment(cache), **contract, "PROCESS_ID": index, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in ("0", "1")
    ]
    assert [process.communicate(timeout=120)[0].splitlines()[-1] for process in started] == rows


def test_a_process_that_cannot_join_ends_with_one_line(tmp_path: Path, cache: Path) -> None:
    contract = {"COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "NUM_PROCESSES": "2"}
    process = subprocess.run(
        [ROOT / "launch/run.sh", *arguments(tmp_path, cache, "--config.processes.join_within=1")],
        env={**environment(cache), **contract, "PROCESS_ID": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1
    message = (
        f"error: process 1 of 2 did not reach process 0 at {contract['COORDINATOR_ADDRESS']} within"
    )
    assert process.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "config.json").exists()  # it has not trained alone


@pytest.mark.parametrize("whose", ["process 0", "process 1", "all"])
def test_a_signal_to_any_process_saves_all_and_they_go_on(
    whose: str, tmp_path: Path, cache: Path, alone: Path
) -> None:
    with launch(tmp_path, cache, 2, "--cpu_devices=4") as launched:
        wait_for_step(launched, tmp_path, 5)
        if whose == "all":  # as engines do that signal whatever they find; run.sh hands it on too
            launched.signal(signal.SIGTERM)
            for pid in launched.pids().values():
                os.kill(pid, signal.SIGTERM)
        else:
            os.kill(launched.pids()[int(whose[-1])], signal.SIGTERM)
        asked = time.monotonic()
        status, output = launched.end()
    assert status == EXIT_PREEMPTED, output
    assert time.monotonic() - asked < KILL_WAIT
    stopped = re.findall(r"stopped after step (\d+) of 24", output)
    assert len(stopped) == 1, output
    saved = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert saved == int(stopped[0]) < 24
    processes, devices = {"process 0": (4, 4), "process 1": (1, 2), "all": (2, 4)}[whose]
    finish(tmp_path, cache, processes, f"--cpu_devices={devices}")
    assert_same_run(tmp_path, alone, tolerance=1e-5)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_process_is_named_and_the_run_goes_on(
    lost: int, number: signal.Signals, tmp_path: Path, cache: Path, alone: Path
) -> None:
    patience = "--config.processes.lost_after=8"
    with launch(tmp_path, cache, 2, "--cpu_devices=4", patience) as launched:
        wait_for_step(launched, tmp_path, 6)
        pids = launched.pids()
        os.kill(pids[lost], number)
        since = time.monotonic()
        while (1 - lost) in launched.pids():
            assert time.monotonic() - since < 20
            time.sleep(0.05)
        if number == signal.SIGSTOP:
            os.kill(pids[lost], signal.SIGKILL)
        status, output = launched.end()
    assert status in (LostProcessError.exit_status, 128 + signal.SIGKILL)
    assert f"error: process {1 - lost} of 2 stops because process {lost} " in output
    assert "Traceback" not in output
    finish(tmp_path, cache, 2, "--cpu_devices=4")
    assert_same_run(tmp_path, alone, tolerance=1e-5)


def test_a_process_that_is_stuck_says_where(tmp_path: Path, cache: Path) -> None:
    short = ("--config.processes.stuck_after=20", "--config.processes.lost_after=60")
    with launch(
        tmp_path, cache, 2, "--cpu_devices=2", "--config.duration=2000 steps", *short
    ) as it:
        wait_for_step(it, tmp_path, 6)
        os.kill(it.pids()[1], signal.SIGSTOP)
        while 0 in it.pids():
            time.sleep(0.05)
        os.kill(it.pids()[1], signal.SIGKILL)
        _, output = it.end()
    assert "process 0 of 2 is stuck: no step for 20 s" in output
    assert "src/training/loop.py" in output


def test_a_damaged_checkpoint_is_set_aside_by_all(tmp_path: Path, cache: Path, alone: Path) -> None:
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", alone, workdir], check=True)
    (workdir / "result.json").unlink()
    files = (workdir / "checkpoints/24/params").rglob("d/*")
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    output = finish(workdir, cache, 2, "--cpu_devices=4")
    assert output.count("checkpoint 24 is damaged") == 1
    assert (workdir / "damaged/24").is_dir()
    assert_same_run(workdir, alone, tolerance=1e-5)


def test_processes_whose_launcher_is_killed_save_and_leave(tmp_path: Path, cache: Path) -> None:
    rarely = [f"--config.{what}=1000 steps" for what in ("evaluate_every", "checkpoint_every")]
    long = "--config.duration=100000 steps"
    with launch(tmp_path, cache, 2, "--cpu_devices=2", long, *rarely) as launched:
        wait_for_step(launched, tmp_path, 5)
        launched.signal(signal.SIGKILL)
        while launched.pids():
            time.sleep(0.05)
        launched.end()
    assert list((tmp_path / "checkpoints").iterdir())


def test_an_error_of_the_main_process_alone_ends_all(
    tmp_path: Path, cache: Path, alone: Path
) -> None:
    with launch(alone, cache, 2, "--cpu_devices=4", "--config.seed=7") as launched:
        status, output = launched.end()
    assert status == 2, output
    assert output.count("its run has other settings: config.seed was 0 and is 7") == 1
    assert "process 1 of 2 stops because process 0 failed; see its message" in output


def test_the_main_process_reports_a_mistake(tmp_path: Path, cache: Path) -> None:
    with launch(tmp_path / "file", cache, 2, "--cpu_devices=2", "--config.mesh.data=3") as launched:
        status, output = launched.end()
    assert status == 2, output
    assert "config.mesh: data 3" in output
    assert "Traceback" not in output
