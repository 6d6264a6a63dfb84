import contextlib
import itertools
import os
from pathlib import Path

import jax
import pytest

from src.distributed.devices import avoid_compiler_plugin
from src.distributed.program_cache import processor
from tests.support import tiny
from tests.support.runs import trained

avoid_compiler_plugin()
jax.config.update("jax_num_cpu_devices", 8)


WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs for the next session: compiling is most of the fast tests' time.

    JAX may read a program that is still being written, so each worker has a directory of its own.
    Before they start, each directory gets the programs of all.
    """
    programs = config.cache.mkdir(f"programs-{processor()}")  # type: ignore[union-attr]
    own = programs / (WORKER or "alone")
    own.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(own))
    # With XLA's own caches in that directory, its name would be part of each program's key.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if WORKER is None:
        known = {program.name: program for program in programs.glob("*/*-cache")}
        for directory, name in itertools.product(programs.iterdir(), known):
            with contextlib.suppress(OSError):
                os.link(known[name], directory / name)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, and the compiled programs of commands in processes of their own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits_run(cache: Path) -> Path:
    """A small run on digits, finished."""
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    return trained(config, cache / "report")
