"""launch/slurm.sbatch on a real Slurm cluster of two nodes, both on this machine."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import ROOT, environment
from tests.support.launched import (
    LONG,
    command,
    pause,
    processes,
    started,
    trainer,
    wait_for,
    wait_for_steps,
    wait_until_signaled,
)
from tests.support.runs import assert_same_run

MISSING = [name for name in ("munged", "slurmctld", "slurmd") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"there is no {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd must run as root"),
]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/%n.pid
SlurmdSpoolDir={directory}/%n
StateSaveLocation={directory}/state
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SchedulerParameters=bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
FirstJobId={first_job}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES State=UP
"""


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


class Cluster:
    def __init__(self, directory: Path, cache: Path):
        self._directory = directory
        self._environment = environment(cache) | {"SLURM_CONF": str(directory / "slurm.conf")}

    def __enter__(self) -> "Cluster":
        directory = self._directory
        (directory / "state").mkdir()
        key = directory / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(random.randbytes(1024))
        (directory / "slurm.conf").write_text(
            CONFIGURATION.format(
                directory=directory,
                host=socket.gethostname().partition(".")[0],
                ports=free_ports(3),
                # launch/run.sh derives the coordinator port from the job id.
                first_job=random.randrange(1000, 60000),
            )
        )
        munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
        for option in ("socket", "pid-file", "log-file", "seed-file"):
            munged.append(f"--{option}={directory / 'munge'}.{option.removesuffix('-file')}")
        with ExitStack() as stack:
            stack.callback(self._kill_job_processes)
            for daemon in (
                munged,
                ["slurmctld", "-D", "-c"],
                ["slurmd", "-D", "-N", "n1"],
                ["slurmd", "-D", "-N", "n2"],
            ):
                log = directory / f"{daemon[0]}{daemon[-1][-2:]}.log"
                stack.enter_context(started(daemon, log, **self._environment))
                if daemon is munged:
                    wait_for((directory / "munge.socket").exists)
            wait_for(lambda: self.call("sinfo", "--noheader", "--format=%D %t").strip() == "2 idle")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _kill_job_processes(self) -> None:
        """Kills what slurmd started, which left its process group but keeps its environment."""
        for process in processes("environ", f"SLURM_CONF={self._directory}/"):
            os.kill(process, signal.SIGKILL)

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def submit(self, command: list[str]) -> tuple[str, Path]:
        """Submits launch/slurm.sbatch with the flags of a command; returns job id and log."""
        log = self._directory / "job-%j.log"
        sbatch = ["sbatch", "--parsable", "--nodes=2", "--time=20", f"--output={log}"]
        job = self.call(*sbatch, "launch/slurm.sbatch", *command[1:]).strip()
        assert job.isdecimal()
        return job, Path(str(log).replace("%j", job))

    def field(self, job: str, name: str) -> str:
        for entry in self.call("scontrol", "show", "job", "--oneliner", job).split():
            key, _, value = entry.partition("=")
            if key == name:
                return value
        return ""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("slurm"), cache) as cluster:
        yield cluster


def test_job_saves_before_its_time_limit_and_resumes_after_requeue(
    cluster: Cluster, tmp_path: Path, cache: Path, reference_on_two_devices: Path
) -> None:
    workdir = tmp_path / "run"
    job, log = cluster.submit(command(workdir, cache, 1, *LONG))
    began = time.monotonic()
    second = trainer(workdir, 1)
    wait_for_steps(workdir, 6)
    pause(second)
    # Every 30 s, Slurm checks whether a job has less than the 120 s of --signal left.
    minutes = int((time.monotonic() - began) / 60) + 2
    cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    wait_until_signaled(second)
    wait_for(lambda: ": restarting" in log.read_text())
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=20")
    assert "stopped after step" in log.read_text()
    assert "status 75 after 0 restarts" in log.read_text()
    assert not (workdir / "result.json").exists()

    wait_for(lambda: cluster.field(job, "JobState") == "COMPLETED")
    assert cluster.field(job, "Restarts") == "1"
    assert log.read_text().count("on Slurm step") == 4
    assert (workdir / "result.json").exists()
    assert_same_run(workdir, reference_on_two_devices, tolerance=1e-5)


def test_job_that_loses_a_process_is_requeued(
    cluster: Cluster, tmp_path: Path, cache: Path, reference_on_two_devices: Path
) -> None:
    workdir = tmp_path / "run"
    job, log = cluster.submit(command(workdir, cache, 1, *LONG))
    second = trainer(workdir, 1)
    wait_for_steps(workdir, 6)
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: ": restarting" in log.read_text())
    assert "process 0 of 2 stops because process 1 has ended" in log.read_text()

    wait_for(lambda: cluster.field(job, "JobState") == "COMPLETED")
    assert cluster.field(job, "Restarts") == "1"
    assert (workdir / "result.json").exists()
    assert_same_run(workdir, reference_on_two_devices, tolerance=1e-5)


def test_canceled_job_saves_and_is_not_requeued(
    cluster: Cluster, tmp_path: Path, cache: Path
) -> None:
    workdir = tmp_path / "run"
    job, log = cluster.submit(command(workdir, cache, 1, "--config.duration=100000 steps"))
    wait_for_steps(workdir, 6)
    cluster.call("scancel", job)
    wait_for(lambda: cluster.field(job, "JobState") == "CANCELLED")
    assert not processes("cmdline", f"--workdir={workdir}\0")
    assert cluster.field(job, "Restarts") == "0"
    assert "everything is saved, run the same command again to resume" in log.read_text()
    assert "status 75, job COMPLETING: not restarting" in log.read_text()
