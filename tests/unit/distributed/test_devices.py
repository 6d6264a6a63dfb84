import os
import subprocess
import sys

import pytest

from src.distributed.devices import choose_cpu_devices, local_gpu_ids
from src.errors import UserError


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({}, None),
        ({"LOCAL_PROCESSES": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [2, 3]),
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, [1]),
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": "5"}, None),  # bound by the engine
        ({"LOCAL_PROCESSES": "2", "CUDA_VISIBLE_DEVICES": ""}, None),  # on CPUs
        (
            {
                "LOCAL_PROCESSES": "2",
                "CUDA_VISIBLE_DEVICES": "0,1",
                "SLURM_GPUS_PER_TASK": "2",
            },
            None,
        ),
    ],
)
def test_processes_of_a_host_share_its_gpus(
    environment: dict[str, str], gpus: list[int] | None
) -> None:
    assert local_gpu_ids({"LOCAL_PROCESS_ID": "1", **environment}) == gpus


def test_gpu_count_not_divisible_by_processes_is_rejected() -> None:
    environment = {"LOCAL_PROCESSES": "2", "LOCAL_PROCESS_ID": "0", "CUDA_VISIBLE_DEVICES": "0,1,2"}
    with pytest.raises(UserError, match="LOCAL_PROCESSES=2: they cannot share 3 GPUs"):
        local_gpu_ids(environment)
    with pytest.raises(UserError, match="LOCAL_PROCESS_ID=one: not a whole number of at least 0"):
        local_gpu_ids(environment | {"CUDA_VISIBLE_DEVICES": "0,1", "LOCAL_PROCESS_ID": "one"})


def test_cpu_device_count_not_divisible_by_processes_is_rejected() -> None:
    with pytest.raises(UserError, match="--cpu_devices=3: 2 processes cannot share them evenly"):
        choose_cpu_devices(3, {"LOCAL_PROCESSES": "2"})


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, 2),
        ({"LOCAL_PROCESSES": "1000"}, 1),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
        ({"JAX_NUM_CPU_DEVICES": "5"}, 5),
    ],
)
def test_towers_have_a_cpu_device_each_where_cores_suffice(
    environment: dict[str, str], devices: int
) -> None:
    program = (
        "import jax, os; from src.distributed.devices import choose_cpu_devices; "
        "choose_cpu_devices(None, os.environ); print(len(jax.devices()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    assert int(done.stdout) == (devices if environment else min(devices, cores))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_of_large_arrays_is_used_again() -> None:
    program = """
import resource
from src.distributed.devices import keep_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26  # 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_memory()
page_faults()
print(page_faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout) < 1000, done.stderr
