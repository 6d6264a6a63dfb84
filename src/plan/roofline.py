"""The time of a compiled step at assumed fractions of the GPU's peaks.

Two clocks run through the program in its order of execution: one for kernels, one for collectives.
Kernels run one after another, and so do collectives. An asynchronous collective costs only the time
that the kernels between its start and its end do not cover.
"""

import math
import re
from dataclasses import dataclass

import jax

from .compiler import Program
from .gpu import Gpu
from .hlo import Collective, Instruction

FREE = {"parameter", "constant", "bitcast", "get-tuple-element", "tuple", "partition-id"}
# operand_precision={highest,highest}, or "operand_precision":["HIGHEST","HIGHEST"] of cuBLAS
ALL_BITS = re.compile(r'operand_precision"?[:=][\[{]"?highest', re.IGNORECASE)
CATEGORIES = ("convolutions", "products", "memory-bound")


@dataclass(frozen=True)
class Assumptions:
    """Fractions of the datasheet's peaks, and latencies in seconds."""

    tensor_core_convolutions: float = 0.5
    cuda_core_convolutions: float = 1.3  # Winograd's and FFT algorithms need fewer operations
    products: float = 0.7
    memory: float = 0.8
    links: float = 0.8
    kernel_seconds: float = 3e-6  # the least time of a kernel, with its launch
    host_latency: float = 10e-6  # of a collective within a host
    network_latency: float = 30e-6  # of a collective across hosts


IDEAL = Assumptions(1, 1, 1, 1, 1, 0, 0, 0)


@dataclass
class Part:
    """One category of kernels in a step, on one GPU."""

    seconds: float = 0
    flops: float = 0
    bytes: float = 0
    kernels: int = 0


@dataclass
class CollectiveTiming:
    """When a collective runs, and what it adds to the step."""

    collective: Collective
    bandwidth: float  # bytes/s of each GPU
    across_hosts: bool
    seconds: float
    exposed: float = 0  # seconds in which no kernel runs


@dataclass(frozen=True)
class Timeline:
    """A step; `seconds` is less than the sum of parts and collectives where they overlap."""

    seconds: float
    parts: dict[str, Part]
    collectives: list[CollectiveTiming]

    @property
    def exposed(self) -> float:
        """Seconds that collectives add to the step."""
        return sum(timing.exposed for timing in self.collectives)


def run(program: Program, gpu: Gpu, assumed: Assumptions) -> Timeline:
    """Simulates a step of the program on one GPU."""
    devices = list(program.mesh.devices.flat)
    timings = {c.name: _time_collective(c, devices, gpu, assumed) for c in program.collectives}
    parts = {category: Part() for category in CATEGORIES}
    ends: dict[str, float] = {}  # of asynchronous collectives, by name
    now = link_free = 0.0
    for instruction in program.instructions:
        opcode = instruction.opcode
        if timing := timings.get(instruction.name):
            link_free = max(link_free, now) + timing.seconds
            if opcode.endswith("-start") and '"is_sync":true' not in instruction.attributes:
                ends[instruction.name] = link_free
            else:
                timing.exposed, now = link_free - now, link_free
        elif opcode.endswith("-done"):
            name = instruction.operand_names[0]
            if name in ends:
                timings[name].exposed, now = max(ends[name] - now, 0), max(ends[name], now)
        elif opcode not in FREE and not opcode.endswith("-start"):
            category, kernel = _kernel(instruction, program.product_in(instruction), gpu, assumed)
            now += kernel.seconds
            part = parts[category]
            part.seconds += kernel.seconds
            part.flops += kernel.flops
            part.bytes += kernel.bytes
            part.kernels += 1
    return Timeline(max(now, link_free), parts, list(timings.values()))


def _time_collective(
    collective: Collective, devices: list[jax.Device], gpu: Gpu, assumed: Assumptions
) -> CollectiveTiming:
    hosts = [devices[device].process_index for device in collective.groups[0]]
    across = len(set(hosts)) > 1
    # One ring per GPU of a host, each with that GPU's share of the network.
    fewest = min(hosts.count(host) for host in set(hosts))
    bandwidth = min(gpu.nvlink, fewest * gpu.network) if across else gpu.nvlink
    latency = assumed.network_latency if across else assumed.host_latency
    seconds = latency + collective.bytes_sent / (bandwidth * assumed.links)
    return CollectiveTiming(collective, bandwidth * assumed.links, across, seconds)


def _kernel(
    instruction: Instruction, product: Instruction | None, gpu: Gpu, assumed: Assumptions
) -> tuple[str, Part]:
    """The category of a kernel, and its time; `product` is the one that Triton compiles in it."""
    attributes = instruction.attributes
    touched = sum(array.bytes for array in instruction.results + instruction.operands)
    flops, category, multiplied = 0.0, "memory-bound", product or instruction
    seconds = touched / gpu.memory_bandwidth / assumed.memory
    if "__cudnn$conv" in attributes:
        category, flops = "convolutions", _convolution_flops(instruction)
    elif product or "__cublas$" in attributes:
        category, flops = "products", _product_flops(multiplied)
    # XLA knows slices, but may count accesses to cached data a thousand times.
    if product and (estimate := re.search(r'"memory_access_time_us":([\d.e+-]+)', attributes)):
        seconds = min(seconds, float(estimate[1]) * 1e-6 / assumed.memory)
    elif not flops and touched > gpu.l2_cache:
        estimate = re.search(r'"exec_time_us":([\d.e+-]+)', attributes)
        seconds = float(estimate[1]) * 1e-6 / assumed.memory if estimate else seconds
    if flops:
        seconds = max(seconds, flops / _rate(category, multiplied, gpu, assumed))
    return category, Part(max(seconds, assumed.kernel_seconds), flops, touched)


def _rate(category: str, multiplied: Instruction, gpu: Gpu, assumed: Assumptions) -> float:
    """FLOP/s of a convolution or product."""
    peak = gpu.peak(multiplied.operands[0].dtype)
    if ALL_BITS.search(multiplied.attributes):
        peak = gpu.flops["float32"]
    if category == "products":
        return peak * assumed.products
    if peak > 3 * gpu.flops["float32"]:
        return peak * assumed.tensor_core_convolutions
    return peak * assumed.cuda_core_convolutions


def _convolution_flops(instruction: Instruction) -> float:
    """2 · output · kernel ÷ output maps, for the forward pass and both gradients."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", instruction.attributes)
    assert labels, instruction
    (first, kernel, *_), output = instruction.operands, instruction.results[0]
    if "convBackwardFilter" in instruction.attributes:
        output, kernel = kernel, output
    elif "convBackwardInput" in instruction.attributes:
        output = first
    return 2 * output.size * kernel.size / kernel.shape[labels[1].index("o")]


def _product_flops(instruction: Instruction) -> float:
    # "lhs_contracting_dimensions":["1"] of cuBLAS, or lhs_contracting_dims={1}
    summed = re.search(r'lhs_contracting_dim\w+"?[:=][\[{]([^\]}]*)', instruction.attributes)
    assert summed, instruction
    shape = instruction.operands[0].shape
    depth = math.prod(shape[int(axis)] for axis in re.findall(r"\d+", summed[1]))
    return 2 * instruction.results[0].size * depth
