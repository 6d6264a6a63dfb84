"""The recipe of tests/distributed, whose processes start fast. Tests must not import it.

python -m src.main --config=tests/support/pod_recipe.py
"""

import sys
from types import SimpleNamespace
from typing import Any

import jax
from jax._src import compiler
from ml_collections import ConfigDict

from tests.support import tiny

# Only process 0 may write to JAX's compilation cache. On CPUs, though, each process has its own
# cache keys, so that the other processes would compile every program again in every run.
untyped: Any = compiler
untyped.distributed = SimpleNamespace(global_state=SimpleNamespace(process_id=0, client=None))
jax.config.update("jax_disable_most_optimizations", True)


def _refuse_torch(name: str, *_: object) -> None:
    if name == "torch":
        raise ModuleNotFoundError(name)


# If PyTorch is installed, tensorboardX imports it, which takes seconds.
finder: Any = SimpleNamespace(find_spec=_refuse_torch)
sys.meta_path.insert(0, finder)


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.checkpoint_every = "8 steps"
    return config
