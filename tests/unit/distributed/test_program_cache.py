"""Compiled programs that are kept for later commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.distributed.program_cache import processor


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"XDG_CACHE_HOME": "{tmp}/xdg"}, "{tmp}/xdg/alexnet/{processor}"),
        ({}, "{tmp}/home/.cache/alexnet/{processor}"),
        ({"JAX_COMPILATION_CACHE_DIR": "{tmp}/own"}, "{tmp}/own"),
        ({"XDG_CACHE_HOME": "{tmp}/file"}, None),  # nothing can be written there
    ],
)
def test_compiled_programs_are_kept_for_later_commands(
    environment: dict[str, str], directory: str | None, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    environment = {name: value.format(tmp=tmp_path) for name, value in environment.items()}
    program = (
        "import jax, os; from src.distributed.program_cache import cache_programs; "
        "cache_programs(os.environ); jax.config.update('jax_platforms', 'cpu'); "
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0); "
        "jax.jit(lambda x: x + 1)(0); print(jax.config.jax_compilation_cache_dir)"
    )
    inherited = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, "HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    chosen = directory and directory.format(tmp=tmp_path, processor=processor())
    assert done.stdout.strip() == str(chosen)
    assert chosen is None or any(Path(chosen).glob("jit_*"))


@pytest.mark.parametrize(("process", "left"), [("0", "abd"), ("1", "abcde")])
def test_programs_used_longest_ago_are_removed(process: str, left: str, tmp_path: Path) -> None:
    directory = tmp_path / "alexnet"
    (directory / "of XLA").mkdir(parents=True)
    # its size in MiB, the day it was read last, the day it was written
    programs = {
        "a": (1000, 9, 1),
        "of XLA/b": (500, 8, 8),
        "c": (10, 2, 2),
        "d": (500, 1, 7),
        "e": (1000, 3, 3),
    }
    for name, (size, read, written) in programs.items():
        with (directory / name).open("wb") as file:
            file.truncate(size << 20)
        os.utime(directory / name, (read * 86400, written * 86400))
    program = (
        "import os; from src.distributed.program_cache import cache_programs; "
        "cache_programs(os.environ)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "PROCESS_ID": process}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    names = {path.name for path in directory.rglob("*") if path.is_file()}
    assert "".join(sorted(names)) == left


def test_processors_with_other_instructions_have_other_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    for flags in ("fpu avx2", "fpu avx2 avx512f", "fpu avx2"):
        text = f"model name : AMD EPYC\nflags : {flags}\ncpu MHz : {len(names)}"
        monkeypatch.setattr(Path, "read_text", lambda _, text=text: text)
        names.append(processor())
    assert names[0] != names[1]
    assert names[0] == names[2]
