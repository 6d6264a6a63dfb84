"""Two processes that see different checkpoints, as on a slow file system."""

import shutil
from pathlib import Path

import pytest

from tests.support import format1
from tests.support.commands import two_processes
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
    printed = []
    with two_processes(CODE, *workdirs, cache=cache) as processes:
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
