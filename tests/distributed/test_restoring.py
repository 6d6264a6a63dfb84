"""Two processes that see different checkpoints, as on a slow file system."""

import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import format1
from tests.support.commands import ROOT, environment, free_port
from tests.support.launched import SOON

CODE = f"""
import os, sys
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.errors import CommandError
from src.inference.classifier import load
from src.runs.defaults import default_config
section = default_config().processes
section.join_within = {SOON}
with ProcessGroup(process_info(os.environ), section) as group:
    try:
        print(load(sys.argv[1 + group.process.index]).step)
    except CommandError as error:
        print(error)
"""


@pytest.mark.parametrize("seen", [(4,), (4, 8)])
def test_all_processes_restore_what_process_0_sees(
    seen: tuple[int, ...], cache: Path, tmp_path: Path
) -> None:
    workdirs = [shutil.copytree(format1.WORKDIR, tmp_path / str(index)) for index in range(2)]
    lacking = workdirs[0] if seen == (4,) else workdirs[1]
    shutil.rmtree(lacking / "checkpoints" / "8")
    common = {"COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "NUM_PROCESSES": "2"}
    printed = []
    with ExitStack() as stack:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", CODE, *map(str, workdirs)],
                cwd=ROOT,
                env={**environment(cache), **common, "JAX_PLATFORMS": "cpu", "PROCESS_ID": index},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in "01"
        ]
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in processes:
            out, err = process.communicate(timeout=SOON)
            assert process.returncode == 0, err
            printed.append(out.splitlines()[-1])
    if seen == (4,):
        assert printed == ["4", "4"]
    else:  # which process 1 cannot read
        assert printed[0] == "another process cannot read checkpoint 8"
        assert "does not see checkpoint 8 that process 0 lists" in printed[1]
    assert not list(tmp_path.glob("*/damaged"))
