"""Which devices this process uses."""

import ctypes
import functools
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from ..errors import EnvironmentMistake, UserError
from .environment import read_number

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@functools.cache
def avoid_compiler_plugin() -> None:
    """Selects the CPU if the extra `plan` is installed, but no plug-in that runs on GPUs.

    By default, JAX initializes the compiler's plug-in, which prints a traceback or an error.
    """
    if any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        return
    try:
        plugin: Any = importlib.import_module("jax_plugins.xla_cuda13")
    except ImportError:  # the extra `plan` is not installed
        return
    logging.getLogger(plugin.__name__).setLevel(logging.ERROR)  # it warns of what only GPUs need
    initialize = plugin.initialize

    def initialize_quietly() -> None:
        sys.stderr.flush()
        stderr = os.dup(2)  # the plug-in bypasses Python's sys.stderr
        try:
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 2)
            initialize()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

    plugin.initialize = initialize_quietly
    jax.config.update("jax_platforms", "cpu")


def choose_cpu_devices(count: int | None, environment: Mapping[str, str]) -> None:
    """Selects this process's share of `count` CPU devices, to try a mesh without GPUs.

    By default, a CPU with two cores or more for this process is two devices, one for each tower;
    networks of one tower share the batch instead. A setting of JAX's own comes before this default.

    Raises:
      UserError: LOCAL_PROCESSES does not divide `count`.
    """
    processes = read_number(environment, "LOCAL_PROCESSES", 1)
    chosen = "xla_force_host_platform_device_count" in environment.get("XLA_FLAGS", "")
    if count is not None:
        if count % processes:
            shared = f"{processes} processes cannot share them evenly"
            raise UserError(f"--cpu_devices={count}: {shared}")
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count // processes)
    elif jax.config.values["jax_num_cpu_devices"] < 0 and not chosen:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", 2 if cores >= 2 * processes else 1)


def keep_memory() -> None:
    """Lets glibc keep the memory of large arrays for the next ones.

    By default it returns such memory to the system, which clears each page before the next use: a
    step of a small network then takes half as long again on CPUs.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def platform(mesh: Mesh) -> str:
    """The kind of the mesh's devices, such as "cpu" or "gpu"."""
    return mesh.devices.flat[0].platform


def compiler_options(mesh: Mesh) -> dict[str, bool | str]:
    """XLA's options for a step of training on the mesh.

    On CPUs, XLA by default orders operations so that many can run at once, which takes more memory
    and leaves the caches. Before JAX 0.12, its newer generator of code for fused operations takes
    longer to compile, and its code longer to run.

    On GPUs that share both towers and batches, XLA's default estimate of how long transfers take
    has gradients wait for each other. The planner models a third more images/s without that
    estimate, on 64 GPUs. On other meshes, it models no gain.

    The allowed versions of JAX, 0.10.2 to 0.12, have all these options, but 0.12 has one generator.
    """
    if platform(mesh) == "cpu":
        older = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 12) else {}
        return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED", **older}
    if platform(mesh) != "gpu" or min(mesh.devices.shape) == 1:
        return {}
    return {
        "xla_gpu_enable_latency_hiding_scheduler": True,
        "xla_gpu_enable_analytical_sol_latency_estimator": False,
    }


def local_gpu_ids(environment: Mapping[str, str]) -> list[int] | None:
    """Returns the indices of this process's share of the visible GPUs, or None for all of them.

    The LOCAL_PROCESSES processes of this host share its GPUs; this one is LOCAL_PROCESS_ID. Some
    engines show each process only its own GPUs, which it does not share.

    Raises:
      EnvironmentMistake: LOCAL_PROCESSES does not divide the number of GPUs.
    """
    processes = read_number(environment, "LOCAL_PROCESSES", 1)
    if processes == 1 or "SLURM_GPUS_PER_TASK" in environment:
        return None
    if "CUDA_VISIBLE_DEVICES" in environment:
        visible = len([gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu])
    else:
        visible = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if visible < processes:
        return None
    if visible % processes:
        message = f"LOCAL_PROCESSES={processes}: they cannot share {visible} GPUs evenly"
        raise EnvironmentMistake(message)
    share, index = visible // processes, read_number(environment, "LOCAL_PROCESS_ID", 0)
    return list(range(index * share, (index + 1) * share))
