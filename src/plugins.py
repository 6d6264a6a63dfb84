"""JAX's plug-in for CUDA where it is there to compile for GPUs only, and can't run anything."""

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax


@functools.cache
def take_cpu_beside_compiler() -> None:
    """Has JAX run on the CPU, quietly, where the extra `plan` is installed and none for GPUs.

    By itself JAX tries the plug-in first, and prints a traceback, or that there is no driver.
    """
    runs = any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13))
    if runs or not importlib.util.find_spec("jax_plugins"):
        return
    try:
        plugin: Any = importlib.import_module("jax_plugins.xla_cuda13")
    except ImportError:
        return
    initialize = plugin.initialize

    def initialize_quietly() -> None:
        with _without_stderr():
            initialize()

    plugin.initialize = initialize_quietly
    jax.config.update("jax_platforms", "cpu")


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Drops what libraries write to the process's standard error, past Python's."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
