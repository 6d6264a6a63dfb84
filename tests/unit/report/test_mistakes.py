"""Directories without a run, runs of the same name, and a missing extra."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.errors import UserError
from src.report import page
from tests.support.commands import ROOT, run


@pytest.mark.slow
def test_directories_without_a_run_or_a_checkpoint_are_refused(
    workdir: Path, tmp_path: Path, cache
):
    process = run("src.report", f"--workdir={workdir},{tmp_path / 'none'}", cache=cache)
    assert process.returncode == 2
    assert re.fullmatch(r"error: workdir \S+none: it has no config.json, .*\n", process.stderr)
    for name in ("config.json", "preprocessing.npz"):
        shutil.copy(workdir / name, tmp_path / name)
    with pytest.raises(UserError, match="checkpoint"):
        page.write([tmp_path])


def test_the_parent_directory_of_runs_is_refused_with_a_suggestion(tmp_path: Path):
    for name in ("relu/seed0", "relu/seed1", "tanh/seed0", "tanh/seed1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"choose a directory inside, such as \S+/relu/seed0$"):
        page.write([tmp_path])


def test_run_names_are_the_shortest_different_ends_of_their_paths():
    def named(*workdirs: str) -> list[str]:
        return page._names([Path(workdir) for workdir in workdirs])

    assert named("/a/relu/seed0") == ["seed0"]
    assert named("/a/relu/seed0", "/a/relu/seed1") == ["seed0", "seed1"]
    assert named("/a/x/seed0", "/b/x/seed0") == ["a/x/seed0", "b/x/seed0"]
    assert named("/a/x", "/a/x", "/a/y") == ["x", "x", "y"]


@pytest.mark.slow
def test_command_starts_without_the_extra_to_name_what_to_install():
    code = "import sys, src.report.__main__\nfrom src.errors import EXTRAS\n"
    code += "sys.exit(any(package in sys.modules for package in EXTRAS['report']))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
