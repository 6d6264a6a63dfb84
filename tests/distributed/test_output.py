"""What several processes of one host print."""

import subprocess
from pathlib import Path

import pytest

from tests.support.commands import ROOT, environment
from tests.support.launched import command


def run(cache: Path, argv: list[str]) -> subprocess.CompletedProcess[str]:
    variables = {**environment(cache), "LOCAL_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(argv, cwd=ROOT, env=variables, capture_output=True, text=True)


def test_mistake_is_told_once(tmp_path: Path, cache: Path) -> None:
    done = run(cache, command(tmp_path, cache, 2, "--config.dtype=float17"))
    assert done.returncode == 2
    assert done.stderr.count("error: ") == done.stderr.count("'float17' is not allowed") == 1


@pytest.mark.slow
def test_only_the_result_is_on_stdout(tmp_path: Path, cache: Path) -> None:
    done = run(cache, command(tmp_path, cache, 2, "--config.duration=2 steps"))
    assert done.returncode == 0, done.stderr
    finished, *following = done.stdout.splitlines()
    assert finished.startswith("finished in ")
    assert [line.split()[-2:] for line in following] == [
        ["src.report", f"--workdir={tmp_path}"],
        [f"--workdir={tmp_path}", f"{tmp_path}/examples/*"],
    ]
    assert done.stderr.count("devices   2 × cpu") == 1
