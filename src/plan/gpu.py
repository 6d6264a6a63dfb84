"""Descriptions of GPUs: one file of datasheet numbers per GPU, in gpus/."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

FOLDER = Path(__file__).parent / "gpus"
POSITIVE = (
    "multiprocessors",
    "fp32_units_per_multiprocessor",
    "clock_ghz",
    "memory_gb",
    "memory_gb_per_s",
    "l2_cache_mib",
    "shared_memory_kib_per_multiprocessor",
    "shared_memory_kib_per_block",
    "nvlink_gb_per_s",
    "network_gbit_per_s",
)


@dataclass(frozen=True)
class Gpu:
    """One GPU, and its links to others. Bandwidths are bytes/s in one direction."""

    key: str
    name: str
    source: str
    memory: float  # bytes
    memory_bandwidth: float
    l2_cache: float  # bytes
    nvlink: float  # to the other GPUs of the host
    network: float  # this GPU's share of its host's
    flops: dict[str, float]  # FLOP/s by type, dense; "tf32" where float32 may be rounded to it
    compute_capability: tuple[int, int]
    target: str  # XLA's GpuTargetConfigProto, as text
    published: list[dict[str, Any]]  # measurements of tf_cnn_benchmarks' AlexNet

    def peak(self, dtype: str) -> float:
        """FLOP/s of products and convolutions of a type, as XLA has them by default."""
        unit = {"f32": "tf32", "f16": "float16", "bf16": "bfloat16"}.get(dtype, "float32")
        return self.flops.get(unit, self.flops["float32"])


def known() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load(key: str, network_gbps: float | None = None) -> Gpu:
    """Reads a description; `network_gbps`, Gbit/s per GPU, replaces its network.

    Raises:
      UserError: no such description exists, or it lacks a number without which XLA would abort.
    """
    if key not in known():
        raise UserError(f"--gpu={key}: must be one of {', '.join(known())}")
    return parse(key, (FOLDER / f"{key}.toml").read_text(), network_gbps)


def parse(key: str, text: str, network_gbps: float | None = None) -> Gpu:
    try:
        numbers = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"src/plan/gpus/{key}.toml: {error}") from None
    for field in POSITIVE:
        if not isinstance(numbers.get(field), int | float) or not numbers[field] > 0:
            raise UserError(
                f"src/plan/gpus/{key}.toml: {field}={numbers.get(field)!r}: must be positive"
            )
    for field in ("name", "source", "compute_capability", "teraflops"):
        if not numbers.get(field):
            raise UserError(f"src/plan/gpus/{key}.toml: {field} is missing")
    major, minor = numbers["compute_capability"]
    return Gpu(
        key=key,
        name=numbers["name"],
        source=numbers["source"],
        memory=numbers["memory_gb"] * 1e9,
        memory_bandwidth=numbers["memory_gb_per_s"] * 1e9,
        l2_cache=numbers["l2_cache_mib"] * 2**20,
        nvlink=numbers["nvlink_gb_per_s"] * 1e9,
        network=(network_gbps or numbers["network_gbit_per_s"]) * 1e9 / 8,
        flops={dtype: value * 1e12 for dtype, value in numbers["teraflops"].items()},
        compute_capability=(major, minor),
        target=_target(numbers),
        published=numbers.get("published", []),
    )


def _target(numbers: dict[str, Any]) -> str:
    major, minor = numbers["compute_capability"]
    kib = 1024
    fields = {
        # The same on all of these GPUs (CUDA C++ Programming Guide, technical specifications).
        "threads_per_warp": 32,
        "threads_per_block_limit": 1024,
        "threads_per_core_limit": 2048,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "shared_memory_per_block": 48 * kib,
        "shared_memory_per_block_optin": numbers["shared_memory_kib_per_block"] * kib,
        "shared_memory_per_core": numbers["shared_memory_kib_per_multiprocessor"] * kib,
        "core_count": numbers["multiprocessors"],
        "fpus_per_core": numbers["fp32_units_per_multiprocessor"],
        "clock_rate_ghz": numbers["clock_ghz"],
        "memory_bandwidth": int(numbers["memory_gb_per_s"] * 1e9),
        "device_memory_size": int(numbers["memory_gb"] * 1e9),
        "l2_cache_size": numbers["l2_cache_mib"] * kib**2,
    }
    return (
        "gpu_device_info { "
        + " ".join(f"{field}: {value}" for field, value in fields.items())
        + f" cuda_compute_capability {{ major: {major} minor: {minor} }} }}"
        + ' platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }'
        + f' device_description_str: "{numbers["name"]}"'
    )
