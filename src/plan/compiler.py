"""Compiles the step that `src.main` runs for GPUs that are not present."""

import math
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ..distributed.devices import avoid_compiler_plugin, compiler_options
from ..distributed.mesh import make_mesh
from ..errors import UserError
from ..training.state import TrainState, abstract_state
from ..training.step import lower_step
from . import hlo
from .gpu import Gpu

READABLE_OPTIONS = {"xla_gpu_collect_cost_model_stats": True}  # adds estimates to the program
# A computation's name and body: %fused (p: f32[8]) -> f32[8] {…}
COMPUTATION = re.compile(r"^%(\S+) (\([^\n]*\{\n.*?\n\})", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU during a step; XLA allocates `total`."""

    parameters: int
    optimizer: int
    inputs: int  # the batch, the mean image and the like
    activations: int  # that the forward pass leaves for the backward pass
    temporary: int  # the rest at the peak, and workspaces of cuBLAS
    total: int


@dataclass(frozen=True)
class Program:
    """A compiled step."""

    mesh: Mesh
    global_batch: int
    memory: Memory
    instructions: list[hlo.Instruction]
    collectives: list[hlo.Collective]
    products: dict[str, hlo.Instruction]  # of matrices, by the computation that contains it

    def product_in(self, instruction: hlo.Instruction) -> hlo.Instruction | None:
        """The matrix product in a fusion, which Triton compiles; cuBLAS's are no fusions."""
        called = re.search(r"calls=%([\w.-]+)", instruction.attributes)
        return self.products.get(called[1]) if called else None

    @property
    def images_per_shard(self) -> int:
        return self.global_batch // self.mesh.shape["data"]

    def images_per_host(self) -> int:
        """Images that one host loads per step; GPUs with towers of one data shard share them."""
        rows = enumerate(self.mesh.devices)
        shards = {(device.process_index, shard) for shard, row in rows for device in row}
        return max(Counter(host for host, _ in shards).values()) * self.images_per_shard


def gpus(gpu: Gpu, topology: str) -> list[jax.Device]:
    """Descriptions of the devices of a topology, PARTITIONSxHOSTSxGPUS."""
    if not re.fullmatch(r"0*[1-9]\d*(x0*[1-9]\d*){2}", topology):
        raise UserError(
            f"--topology={topology}: give PARTITIONSxHOSTSxGPUS, such as 1x64x8 for 64 hosts of 8"
        )
    avoid_compiler_plugin()
    jax.config.update("jax_platforms", "cpu")  # even if this machine has GPUs
    target = {"target_config": gpu.target, "topology": topology}
    return list(topologies.get_topology_desc("", "cuda", **target).devices)


def compile_step(config: ConfigDict, classes: int, devices: list[jax.Device], gpu: Gpu) -> Program:
    """Compiles the step for `devices`, which `gpu` describes.

    Raises:
      UserError: the devices do not fit `config.mesh`.
    """
    mesh = make_mesh(
        config.mesh, towers=config.model.towers, batch_size=config.batch_size, devices=devices
    )
    lowered = lower_step(config, classes, mesh)
    with warnings.catch_warnings():
        # JAX keeps programs for GPUs that are not there, but cannot read them again.
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache entry")
        compiled = lowered.compile(compiler_options=options(gpu, mesh))
    return read_program(config, classes, mesh, compiled)


def read_program(
    config: ConfigDict, classes: int, mesh: Mesh, compiled: jax.stages.Compiled
) -> Program:
    """What a step does that is compiled for the devices of a mesh."""
    text = hlo.program_text(compiled)
    program = hlo.instructions(text)
    state = abstract_state(config, classes, mesh)
    memory = _memory(compiled.memory_analysis(), state, program)
    collectives = hlo.collectives(program, [*config.model.convs, *config.model.dense])
    products = matrix_products(text)
    return Program(mesh, config.batch_size, memory, program, collectives, products)


def matrix_products(text: str) -> dict[str, hlo.Instruction]:
    """The matrix product in each computation that has one, by the computation's name."""
    return {
        name: instruction
        for name, body in COMPUTATION.findall(text)
        if " dot(" in body
        for instruction in hlo.instructions(f"\nENTRY {body}")
        if instruction.opcode == "dot"
    }


def options(gpu: Gpu, mesh: Mesh) -> dict[str, bool | str]:
    """Those of training, and one that makes the program readable."""
    # XLA's estimator does not know older GPUs: compilation would fail.
    is_known = gpu.compute_capability >= (9, 0)
    older = {} if is_known else {"xla_gpu_enable_analytical_sol_latency_estimator": False}
    return compiler_options(mesh) | READABLE_OPTIONS | older


def total_bytes(analysis: Any) -> int:
    """The memory of a device during a step, from its `memory_analysis()`."""
    new = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes + new + analysis.temp_size_in_bytes


def _memory(analysis: Any, state: TrainState, program: list[hlo.Instruction]) -> Memory:
    def bytes_per_gpu(tree: Any) -> int:
        return sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )

    total = total_bytes(analysis)
    parameters, optimizer = bytes_per_gpu(state.params), bytes_per_gpu(state.velocity)
    activations = min(hlo.kept_for_backward(program), analysis.temp_size_in_bytes)
    return Memory(
        parameters=parameters,
        optimizer=optimizer,
        inputs=analysis.argument_size_in_bytes - parameters - optimizer,
        activations=activations,
        temporary=total - analysis.argument_size_in_bytes - activations,
        total=total,
    )
