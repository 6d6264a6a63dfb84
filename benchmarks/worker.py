"""Runs each measurement in its own process, on a fixed number of cores.

A measurement is a module whose `main` returns a result; `report` prints it as JSON. `run_worker`
starts a module and waits for it: no other measurement runs then, and none leaves memory behind.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.machine import CORES, OtherPrograms

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",  # errors only
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


# glibc then keeps the memory of large arrays, in huge pages. By default, it returns such memory to
# the system, which clears each page before the next use.
KEEP_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=17179869184:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
}


def run_worker(module: str, *, keep_memory: bool = False, **flags: Any) -> dict[str, Any]:
    """Runs `python -m benchmarks.MODULE --FLAG=VALUE …` and returns its result.

    Args:
      module: the measurement.
      keep_memory: whether its process runs with KEEP_MEMORY.
      flags: of the module.

    Raises:
      SystemExit: the module failed; its own message is on stderr.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    environment = {**os.environ, **ENVIRONMENT, **(KEEP_MEMORY if keep_memory else {})}
    print(*command[2:], "(memory kept) …" if keep_memory else "…", file=sys.stderr)
    others = OtherPrograms()
    process = subprocess.run(command, stdout=subprocess.PIPE, env=environment)
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command[1:])} failed")
    result = json.loads(process.stdout.splitlines()[-1])
    print(f"  {result}, other programs: {others.cores():.2f} cores", file=sys.stderr)
    return result


def report(main: Callable[[], dict[str, Any]]) -> None:
    """Runs `main` on the first cores that this process may use, and prints its result."""
    if hasattr(os, "sched_setaffinity"):  # only Linux has it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(json.dumps(main()))


def calls_per_second(call: Callable[[], object], warm_up: float, seconds: float) -> float:
    """Calls of `call` in a second; `call` must return only when its work is complete.

    It runs for `warm_up` seconds and at least twice before the clock starts, and then for `seconds`
    and at least once.
    """
    _repeat(call, warm_up, at_least=2)
    started = time.perf_counter()
    calls = _repeat(call, seconds, at_least=1)
    return calls / (time.perf_counter() - started)


def _repeat(call: Callable[[], object], seconds: float, at_least: int) -> int:
    end, calls = time.perf_counter() + seconds, 0
    while calls < at_least or time.perf_counter() < end:
        call()
        calls += 1
    return calls


def peak_bytes() -> int:
    """The peak memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
