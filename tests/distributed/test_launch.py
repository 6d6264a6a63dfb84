"""launch/run.sh sets the variables of the contract from those of an engine."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import ROOT

OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_MCA_orte_hnp_uri": "1234567.0;tcp://10.0.0.1,10.1.0.1:40001",
}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "COORDINATOR_ADDRESS": "n1:2000",
}


@pytest.fixture
def printing(tmp_path: Path) -> Path:
    """A script in place of Python that prints the variables and arguments it gets."""
    script = tmp_path / "python"
    names = "COORDINATOR_ADDRESS NUM_PROCESSES PROCESS_ID LOCAL_PROCESSES LOCAL_PROCESS_ID"
    script.write_text(f'#!/bin/bash\nfor name in {names}; do echo "${{!name-}}"; done\necho "$@"\n')
    script.chmod(0o755)
    return script


def launch(
    python: Path, variables: dict[str, str], *, script: Path = ROOT / "launch/run.sh"
) -> list:
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), **variables}
    done = subprocess.run(
        [script, "--flag=two words"],
        cwd=python.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("launch/run.sh: "), done.stderr
    return [done.returncode, *done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("variables", "process"),
    [
        ({}, ["", "", "", "1", "0"]),
        (SLURM, ["n1:2000", "2", "1", "1", "0"]),
        (OPEN_MPI, [f"10.0.0.1:{20000 + 1234567 // 4096}", "4", "2", "2", "0"]),
        # mpirun in a Slurm allocation starts its helpers, one per node, as a Slurm step
        (SLURM | OPEN_MPI, ["n1:2000", "4", "2", "2", "0"]),
        (
            {
                "JOB_COMPLETION_INDEX": "3",
                "NUM_PROCESSES": "4",
                "COORDINATOR_ADDRESS": "alexnet-0.alexnet:2000",
            },
            ["alexnet-0.alexnet:2000", "4", "3", "1", "0"],
        ),
        (
            {"PMI_SIZE": "2", "PMI_RANK": "1", "COORDINATOR_ADDRESS": "[::1]:2000"},
            ["[::1]:2000", "2", "1", "1", "0"],
        ),
    ],
    ids=["alone", "Slurm", "Open MPI", "Open MPI in Slurm", "Kubernetes", "MPICH"],
)
def test_innermost_engine_determines_the_process(
    variables: dict[str, str], process: list[str], printing: Path
) -> None:
    assert launch(printing, variables) == [0, *process, "-m src.main --flag=two words"]


@pytest.mark.parametrize(
    "variables",
    [
        {"NUM_PROCESSES": "2"},
        {"COORDINATOR_ADDRESS": "host:2000", "PROCESS_ID": "0"},
        {"COORDINATOR_ADDRESS": "host:2000", "NUM_PROCESSES": "two", "PROCESS_ID": "0"},
        {"PMI_SIZE": "2", "PMI_RANK": "0"},
        {"LOCAL_PROCESSES": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"},
    ],
    ids=lambda variables: " ".join(variables),
)
def test_incomplete_or_invalid_contract_is_rejected(
    variables: dict[str, str], printing: Path
) -> None:
    assert launch(printing, variables) == [2]


def test_run_sh_works_through_a_symbolic_link(tmp_path: Path, printing: Path) -> None:
    link = tmp_path / "train"
    link.symlink_to(ROOT / "launch/run.sh")
    assert launch(printing, {}, script=link)[0] == 0
