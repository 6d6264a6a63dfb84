"""Several processes, started by launch/run.sh, train like one process and end together."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.errors import EXIT_PREEMPTED, LostProcessError
from tests.support.commands import ROOT, environment, free_port, two_processes
from tests.support.launched import SOON, STEPS, command, wait_for
from tests.support.runs import assert_same_run, steps_done

pytestmark = pytest.mark.slow

KILL_WAIT = 30  # seconds from SIGTERM until Slurm and Kubernetes by default send SIGKILL


class Launched:
    """A running launch/run.sh and its training processes."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process

    def pids(self) -> dict[int, int]:
        """Returns the process ids of the training processes by PROCESS_ID."""
        ours = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                environment = (directory / "environ").read_bytes().decode().split("\0")
                command = (directory / "cmdline").read_bytes().decode()
                session = os.getsid(int(directory.name))
            except (OSError, UnicodeDecodeError):
                continue
            if session == self._process.pid and "src.main" in command and "several" not in command:
                variables = dict(entry.split("=", 1) for entry in environment if "=" in entry)
                ours[int(variables["PROCESS_ID"])] = int(directory.name)
        return ours

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> tuple[int, str]:
        out, err = self._process.communicate(timeout=SOON)
        return self._process.returncode, out + err

    def kill(self) -> None:
        for pid in self.pids().values():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


@contextmanager
def launch(
    workdir: Path, cache: Path, processes: int, devices: int, *more: str
) -> Iterator[Launched]:
    process = subprocess.Popen(
        command(workdir, cache, devices, *more),
        cwd=ROOT,
        env={**environment(cache), "LOCAL_PROCESSES": str(processes)},
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
    wait_for(lambda: steps_done(workdir) >= step or not launched.is_running())
    assert launched.is_running(), launched.end()


def finish(workdir: Path, cache: Path, processes: int, devices: int, *more: str) -> str:
    with launch(workdir, cache, processes, devices, *more) as launched:
        status, output = launched.end()
    assert status == 0, output
    return output


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_train_like_one(
    processes: int, tmp_path: Path, cache: Path, reference: Path
) -> None:
    output = finish(tmp_path, cache, processes, 4)
    assert_same_run(tmp_path, reference, tolerance=1e-6)
    assert output.count("finished in") == 1
    assert output.count("network   2 towers, ") == 1  # one process tells of the run
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines].count(STEPS) == 2  # a train and a test line


def test_two_processes_train_one_tower_each_and_one_prepares_the_data(
    tmp_path: Path, cache: Path, reference: Path
) -> None:
    root = f"--config.data.root={tmp_path / 'prepared'}"
    output = finish(tmp_path / "run", cache, 2, 2, root)
    assert_same_run(tmp_path / "run", reference, tolerance=1e-5)
    assert output.count("1437/1437") == 1  # images prepared, by one process


ROWS = """
import os
from configs.alexnet import paper
from src.distributed.mesh import BATCH, local_rows, make_mesh, to_devices
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
config = paper("digits")
with ProcessGroup(process_info(os.environ), config.processes):
    for data, model, batch in [("2", "1", 8), ("1", "2", 8), ("1", "2", 3)]:
        config.mesh.data, config.mesh.model = data, model
        mesh = make_mesh(config.mesh, towers=2, batch_size=batch)
        rows = local_rows(mesh, batch)
        on_devices = to_devices(mesh, {"row": 10 * rows}, batch)["row"]
        assert on_devices.sharding.spec == BATCH
        (held,) = on_devices.addressable_shards
        print("read", *rows, "held", *held.data)
"""


def test_processes_read_each_row_once_and_hold_those_of_their_devices(cache: Path) -> None:
    printed = []
    with two_processes(ROWS, cache=cache) as processes:
        for process in processes:
            out, err = process.communicate(timeout=SOON)
            assert process.returncode == 0, err
            printed.append([line for line in out.splitlines() if line.startswith("read ")])
    two_shards, two_towers, odd_batch = zip(*printed, strict=True)
    assert two_shards == ("read 0 1 2 3 held 0 10 20 30", "read 4 5 6 7 held 40 50 60 70")
    assert two_towers == (
        "read 0 1 2 3 held 0 10 20 30 40 50 60 70",
        "read 4 5 6 7 held 0 10 20 30 40 50 60 70",
    )
    assert odd_batch == ("read 0 1 2 held 0 10 20",) * 2  # they cannot share 3 rows


def test_process_that_cannot_join_ends_with_a_one_line_error(tmp_path: Path, cache: Path) -> None:
    contract = {"COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "NUM_PROCESSES": "2"}
    process = subprocess.run(
        command(tmp_path, cache, 2, "--config.processes.join_within=1"),
        cwd=ROOT,
        env={**environment(cache), **contract, "PROCESS_ID": "1"},
        capture_output=True,
        text=True,
        timeout=SOON,
    )
    assert process.returncode == 1
    address = contract["COORDINATOR_ADDRESS"]
    message = f"error: process 1 of 2 did not reach process 0 at {address} within 1 s"
    assert process.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "config.json").exists()  # it does not train alone


@pytest.mark.parametrize("signaled", ["process 0", "process 1", "all"])
def test_signal_to_any_process_stops_and_saves_all_and_the_run_resumes(
    signaled: str, tmp_path: Path, cache: Path, reference: Path
) -> None:
    with launch(tmp_path, cache, 2, 4) as launched:
        wait_for_step(launched, tmp_path, 5)
        if signaled == "all":  # some engines signal every process; several.py forwards it too
            launched.signal(signal.SIGTERM)
            for pid in launched.pids().values():
                os.kill(pid, signal.SIGTERM)
        else:
            os.kill(launched.pids()[int(signaled[-1])], signal.SIGTERM)
        asked = time.monotonic()
        status, output = launched.end()
    assert status == EXIT_PREEMPTED, output
    assert time.monotonic() - asked < KILL_WAIT
    stopped = re.findall(rf"stopped after step (\d+) of {STEPS}", output)
    assert len(stopped) == 1, output
    saved = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert saved == int(stopped[0]) < STEPS
    processes, devices = {"process 0": (4, 4), "process 1": (1, 2), "all": (2, 4)}[signaled]
    finish(tmp_path, cache, processes, devices)
    assert_same_run(tmp_path, reference, tolerance=1e-5)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_process_is_named_and_the_run_resumes(
    lost: int, number: signal.Signals, tmp_path: Path, cache: Path, reference: Path
) -> None:
    lost_after = "--config.processes.lost_after=8"
    with launch(tmp_path, cache, 2, 4, lost_after) as launched:
        wait_for_step(launched, tmp_path, 9)
        pids = launched.pids()
        os.kill(pids[lost], number)
        wait_for(lambda: 1 - lost not in launched.pids(), within=20)
        if number == signal.SIGSTOP:
            os.kill(pids[lost], signal.SIGKILL)
        status, output = launched.end()
    assert status in (LostProcessError.exit_status, 128 + signal.SIGKILL)
    assert f"error: process {1 - lost} of 2 stops because process {lost} " in output
    assert "Traceback" not in output
    finish(tmp_path, cache, 2, 4)
    assert_same_run(tmp_path, reference, tolerance=1e-5)


def test_stuck_process_dumps_its_threads(tmp_path: Path, cache: Path) -> None:
    short = ("--config.processes.stuck_after=20", "--config.processes.lost_after=60")
    with launch(tmp_path, cache, 2, 2, "--config.duration=2000 steps", *short) as launched:
        wait_for_step(launched, tmp_path, 6)
        os.kill(launched.pids()[1], signal.SIGSTOP)
        wait_for(lambda: 0 not in launched.pids())
        os.kill(launched.pids()[1], signal.SIGKILL)
        _, output = launched.end()
    assert "process 0 of 2 is stuck: no step for 20 s" in output
    assert "src/training/loop.py" in output


def test_damaged_checkpoint_is_set_aside_by_all_processes(
    tmp_path: Path, cache: Path, reference: Path
) -> None:
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", reference, workdir], check=True)
    (workdir / "result.json").unlink()
    files = (workdir / f"checkpoints/{STEPS}/params").rglob("d/*")
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    output = finish(workdir, cache, 2, 4)
    assert output.count(f"checkpoint {STEPS} is damaged") == 1
    assert (workdir / f"damaged/{STEPS}").is_dir()
    assert_same_run(workdir, reference, tolerance=1e-5)


def test_processes_save_and_end_when_their_launcher_is_killed(tmp_path: Path, cache: Path) -> None:
    rarely = [f"--config.{what}=1000 steps" for what in ("evaluate_every", "checkpoint_every")]
    long = "--config.duration=100000 steps"
    with launch(tmp_path, cache, 2, 2, long, *rarely) as launched:
        wait_for_step(launched, tmp_path, 5)
        launched.signal(signal.SIGKILL)
        wait_for(lambda: not launched.pids())
        launched.end()
    assert list((tmp_path / "checkpoints").iterdir())


def test_error_of_only_the_main_process_ends_all_processes(
    tmp_path: Path, cache: Path, reference: Path
) -> None:
    with launch(reference, cache, 2, 4, "--config.seed=7") as launched:
        status, output = launched.end()
    assert status == 2, output
    assert output.count("its run has other settings: config.seed was 0 and is 7") == 1
    assert "process 1 of 2 stops because process 0 failed; see its message" in output


def test_main_process_reports_an_invalid_mesh(tmp_path: Path, cache: Path) -> None:
    with launch(tmp_path / "file", cache, 2, 2, "--config.mesh.data=3") as launched:
        status, output = launched.end()
    assert status == 2, output
    assert "config.mesh: data 3" in output
    assert "Traceback" not in output
