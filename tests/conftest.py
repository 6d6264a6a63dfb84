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


@pytest.fixture(scope="session", autouse=True)
def programs(pytestconfig: pytest.Config) -> None:
    """Keeps compiled programs for the next session: compiling is most of the fast tests' time.

    JAX may read a program that is still being written, so each worker has programs of its own.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    cache: pytest.Cache = pytestconfig.cache  # type: ignore[assignment]
    jax.config.update(
        "jax_compilation_cache_dir", str(cache.mkdir(f"programs-{processor()}-{worker}"))
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


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
