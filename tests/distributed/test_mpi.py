"""launch/run.sh under a real mpirun."""

import shutil
import signal
from pathlib import Path

import pytest

from src.errors import EXIT_PREEMPTED
from tests.support.commands import environment
from tests.support.launched import LONG, SOON, command, started, wait_for_steps
from tests.support.runs import assert_same_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed"),
]


def test_run_under_mpirun_saves_on_sigusr1_and_resumes_to_the_reference(
    tmp_path: Path, cache: Path, reference_on_two_devices: Path
) -> None:
    workdir, log = tmp_path / "run", tmp_path / "log"
    mpirun = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--oversubscribe", "-np", "2"]
    run = [*mpirun, *command(workdir, cache, 2, *LONG)]
    with started(run, log, **environment(cache)) as process:
        wait_for_steps(workdir, 6)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(SOON) == EXIT_PREEMPTED, log.read_text()
    output = log.read_text()
    assert output.count("on Open MPI") == 2
    assert "process 1 of 2, coordinator" in output
    assert "stopped after step" in output
    assert not (workdir / "result.json").exists()
    with started(run, log, **environment(cache)) as process:
        assert process.wait(SOON) == 0, log.read_text()
    assert (workdir / "result.json").exists()
    assert_same_run(workdir, reference_on_two_devices, tolerance=1e-5)
