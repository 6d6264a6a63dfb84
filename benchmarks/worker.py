"""What every measurement has in common: a process of its own, on as many cores as the others.

A measurement is a module with a `main`, whose result is printed as JSON. `alone` runs one and waits
for it, so that nothing runs beside it and no memory is left from another.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.machine import OtherPrograms

CORES = 2
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",  # no messages but errors
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def alone(module: str, **flags: Any) -> dict[str, Any]:
    """Runs `python -m benchmarks.MODULE --FLAG=VALUE …` and returns its result.

    Raises:
      SystemExit: it failed, and has said why.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    print(*command[2:], "…", file=sys.stderr)
    others = OtherPrograms()
    process = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT})
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command[1:])} failed")
    result = json.loads(process.stdout.splitlines()[-1])
    print(f"  {result}, other programs: {others.cores():.2f} cores", file=sys.stderr)
    return result


def report(main: Callable[[], dict[str, Any]]) -> None:
    """Prints what `main` returns, computed on the first cores that this process may use."""
    if hasattr(os, "sched_setaffinity"):  # Linux; elsewhere there is no such thing
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(json.dumps(main()))


def calls_per_second(call: Callable[[], object], warm_up: float, seconds: float) -> float:
    """How often `call`, which returns when all is done, can be called in a second.

    It is called for `warm_up` seconds, and at least twice, before the clock is started; then for so
    many seconds, and at least once.
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
    """The most memory that this process has held at once."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
