"""Which devices this process uses."""

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from ..errors import UserError


@functools.cache
def avoid_compiler_plugin() -> None:
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


def use_cpu_devices(count: int, environment: Mapping[str, str]) -> None:
    """Has this process compute on its share of so many CPU devices of the host.

    Raises:
      UserError: the LOCAL_PROCESSES of the host cannot share them evenly.
    """
    processes = int(environment.get("LOCAL_PROCESSES", 1))
    if count % processes:
        raise UserError(f"--cpu_devices={count}: {processes} processes cannot share them evenly")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count // processes)


def local_gpu_ids(environment: Mapping[str, str]) -> list[int] | None:
    """Which of the GPUs that this process sees are its own: None for all.

    Those of the host are shared by its processes (LOCAL_PROCESSES, of which this is
    LOCAL_PROCESS_ID), but where an engine shows each process only its own.

    Raises:
      UserError: the processes can't share them evenly.
    """
    processes = int(environment.get("LOCAL_PROCESSES", 1))
    if processes == 1 or "SLURM_GPUS_PER_TASK" in environment:
        return None
    if "CUDA_VISIBLE_DEVICES" in environment:
        visible = len([gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu])
    else:
        visible = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if visible < processes:
        return None
    if visible % processes:
        raise UserError(
            f"LOCAL_PROCESSES={processes}: so many processes cannot share {visible} GPUs evenly"
        )
    share = visible // processes
    first = int(environment["LOCAL_PROCESS_ID"]) * share
    return list(range(first, first + share))
