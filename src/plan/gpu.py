"""Descriptions of GPUs: one file of datasheet numbers per GPU, in gpus/."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

DIRECTORY = Path(__file__).parent / "gpus"


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
        """FLOP/s of products and convolutions of a type, in XLA's default precision."""
        unit = {"f32": "tf32", "f16": "float16", "bf16": "bfloat16"}.get(dtype, "float32")
        return self.flops.get(unit, self.flops["float32"])


def known() -> list[str]:
    return sorted(file.stem for file in DIRECTORY.glob("*.toml"))


def load(key: str, network_gbps: float | None = None) -> Gpu:
    """Reads a description; `network_gbps`, Gbit/s per GPU, replaces its network.

    Raises:
      UserError: no such description exists, or it lacks a number without which XLA would abort.
    """
    if key not in known():
        raise UserError(f"--gpu={key}: must be one of {', '.join(known())}")
    return parse(key, (DIRECTORY / f"{key}.toml").read_text(), network_gbps)


def parse(key: str, text: str, network_gbps: float | None = None) -> Gpu:
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"src/plan/gpus/{key}.toml: {error}") from None
    for field in ("name", "source", "compute_capability", "teraflops"):
        if not fields.get(field):
            raise UserError(f"src/plan/gpus/{key}.toml: {field} is missing")

    def number(field: str) -> Any:
        value = fields.get(field)
        if not isinstance(value, int | float) or not value > 0:
            raise UserError(f"src/plan/gpus/{key}.toml: {field}={value!r}: must be positive")
        return value

    major, minor = fields["compute_capability"]
    return Gpu(
        key=key,
        name=fields["name"],
        source=fields["source"],
        memory=number("memory_gb") * 1e9,
        memory_bandwidth=number("memory_gb_per_s") * 1e9,
        l2_cache=number("l2_cache_mib") * 2**20,
        nvlink=number("nvlink_gb_per_s") * 1e9,
        network=(network_gbps or number("network_gbit_per_s")) * 1e9 / 8,
        flops={dtype: value * 1e12 for dtype, value in fields["teraflops"].items()},
        compute_capability=(major, minor),
        target=_target(fields["name"], major, minor, number),
        published=fields.get("published", []),
    )


def _target(name: str, major: int, minor: int, number: Callable[[str], Any]) -> str:
    # The limits above core_count are the same on all of these GPUs (CUDA C++ Programming Guide,
    # technical specifications).
    return f"""
gpu_device_info {{
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: {2**31 - 1} block_dim_limit_y: {2**16 - 1} block_dim_limit_z: {2**16 - 1}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: {48 * 1024}
  core_count: {number("multiprocessors")}
  fpus_per_core: {number("fp32_units_per_multiprocessor")}
  shared_memory_per_block_optin: {number("shared_memory_kib_per_block") * 1024}
  shared_memory_per_core: {number("shared_memory_kib_per_multiprocessor") * 1024}
  clock_rate_ghz: {number("clock_ghz")}
  memory_bandwidth: {int(number("memory_gb_per_s") * 1e9)}
  device_memory_size: {int(number("memory_gb") * 1e9)}
  l2_cache_size: {number("l2_cache_mib") * 1024**2}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{name}"
"""
