from pathlib import Path

import jax
import pytest

from src.distributed.devices import avoid_compiler_plugin
from tests.support import tiny
from tests.support.runs import trained

avoid_compiler_plugin()
jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and compiled programs, made once."""
    cache = tmp_path_factory.mktemp("cache")
    jax.config.update("jax_compilation_cache_dir", str(cache / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return cache


@pytest.fixture(scope="session")
def digits_run(cache: Path) -> Path:
    """A small run on digits, finished."""
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    return trained(config, cache / "report")
