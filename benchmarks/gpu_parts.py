"""The measurements of benchmarks/gpu.py; each runs in a process of its own, with all cores.

    python -m benchmarks.gpu_parts --what=MEASUREMENT [--FLAG=VALUE …]

  device     what JAX runs on
  ours       the training step of configs/alexnet.py: images/s
  pytorch    the same network and recipe in PyTorch; --compiled=1: with torch.compile
  kernels    a trace of our step: the time of each kernel
  plan       what src.plan models for our step: images/s
  loader     benchmarks/pipeline.py

The batch is on the device already, and the host waits only for the last of `--steps` steps. A batch
that does not fit into the memory ends the batches of its precision.
"""

import argparse
import collections
import itertools
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import towers, training, worker
from configs import alexnet
from src.distributed.devices import avoid_compiler_plugin
from src.distributed.mesh import make_mesh, replicate, to_devices
from src.distributed.program_cache import cache_programs
from src.plan import compiler, gpu, hlo, roofline
from src.training.state import create_state
from src.training.step import make_train_step

Run = Callable[[], None]  # some steps, to the end of the last one
Speeds = dict[str, float]  # images/s by `case_name`


class Precision(NamedTuple):
    """How float32 products are computed, and the type of activations."""

    dtype: str
    jax_products: str | None  # jax_default_matmul_precision; None: XLA's choice for the device
    torch_products: str  # torch.set_float32_matmul_precision


PRECISIONS = {
    "float32": Precision("float32", "highest", "highest"),
    "TF32": Precision("float32", None, "high"),  # what src.main runs by default
    "bfloat16": Precision("bfloat16", None, "high"),
}
case_name = "{} {}".format  # of a precision and a batch size
OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)


def parse() -> argparse.Namespace:
    """The flags of all measurements but the loader's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--platform", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--batches", default="128", type=lambda text: [*map(int, text.split(","))])
    parser.add_argument("--steps", type=int, default=10, help="before the host waits")
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--compiled", type=int, default=0)
    parser.add_argument("--card", help="one of src/plan/gpus/")
    return parser.parse_args()


def devices(platform: str) -> list[jax.Device]:
    """The devices of a platform, or whatever JAX finds instead of GPUs."""
    jax.config.update("jax_platforms", "cpu" if platform == "cpu" else None)
    avoid_compiler_plugin()  # as commands do
    cache_programs(os.environ)
    return jax.devices()


def device() -> dict[str, Any]:
    """The first device."""
    first, *_ = devices(parse().platform)
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "runtime": " ".join(first.client.platform_version.split()),
        "pytorch": can_use_pytorch(first.platform),
    }


def can_use_pytorch(platform: str) -> bool:
    try:
        import torch
    except ImportError:
        return False
    return platform == "cpu" or torch.cuda.is_available()


def recipe(precision: str, batch: int) -> ConfigDict:
    """The paper's recipe for one device."""
    config = alexnet.paper("imagenet2012")
    config.dtype, config.batch_size = PRECISIONS[precision].dtype, batch
    config.cpu_kernels = "plain"  # so that a rehearsal runs what GPUs run
    return config


class Step:
    """Our training step, on one device."""

    def __init__(self, precision: str, batch: int, platform: str):
        config = recipe(precision, batch)
        first = devices(platform)[:1]
        mesh = make_mesh(config.mesh, towers=config.model.towers, devices=first)
        noise = training.random_batch(batch)
        self.train: Any = make_train_step(config, training.CLASSES, mesh)
        self.state = create_state(config, training.CLASSES, mesh)
        self.inputs = (
            to_devices(mesh, noise, batch),
            replicate(mesh, towers.random_statistics()),
            np.float32(config.schedule.learning_rate),
        )

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.state, metrics = self.train(self.state, *self.inputs)
        jax.block_until_ready((self.state, metrics))


def ours() -> Speeds:
    """The speed of our step."""
    flags = parse()

    def make(precision: str, batch: int) -> Run:
        step = Step(precision, batch, flags.platform)
        return lambda: step.run(flags.steps)

    return speeds(make, flags)


def pytorch() -> Speeds:
    """The speed of PyTorch's step: channels_last, cuDNN's fastest algorithms, fused SGD."""
    import torch

    from benchmarks.pytorch import network

    flags = parse()
    target = "cuda" if flags.platform == "gpu" else "cpu"
    torch.backends.cudnn.benchmark = True

    def make(precision: str, batch: int) -> Run:
        torch.set_float32_matmul_precision(PRECISIONS[precision].torch_products)
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        torch.compiler.reset()
        model = network().to(target, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005, fused=True
        )
        noise = training.random_batch(batch)
        images = torch.from_numpy(noise["image"].transpose(0, 3, 1, 2)).to(target)
        labels = torch.from_numpy(noise["label"]).to(target, torch.int64)
        images = images.contiguous(memory_format=torch.channels_last)
        mean = torch.from_numpy(training.random_mean()[16:-16, 16:-16].transpose(2, 0, 1)).to(
            target
        )
        autocast = torch.autocast(target, torch.bfloat16, enabled=precision == "bfloat16")

        def loss() -> torch.Tensor:
            with autocast:
                return torch.nn.functional.cross_entropy(model(images - mean), labels)

        compute = torch.compile(loss, dynamic=False) if flags.compiled else loss

        def run() -> None:
            for _ in range(flags.steps):
                optimizer.zero_grad()
                compute().backward()
                optimizer.step()
            if target == "cuda":
                torch.cuda.synchronize()

        return run

    return speeds(make, flags)


def speeds(make: Callable[[str, int], Run], flags: argparse.Namespace) -> Speeds:
    """Measures what `make` returns for each precision and batch."""
    result: Speeds = {}
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision.jax_products):
            for batch in flags.batches:
                try:
                    runs = worker.calls_per_second(make(name, batch), 0, flags.seconds)
                except RuntimeError as error:
                    if not OUT_OF_MEMORY.search(str(error)):
                        raise
                    break
                result[case_name(name, batch)] = runs * flags.steps * batch
    return result


def kernels() -> dict[str, Any]:
    """The kernels of our step with the first batch size, by precision.

    XLA launches kernels one by one here: within CUDA graphs, a trace does not name their layers.
    """
    flags = parse()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_enable_command_buffer="
    result = {}
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision.jax_products):
            step = Step(name, flags.batches[0], flags.platform)
            step.train = compiled = step.train.lower(step.state, *step.inputs).compile()
        step.run(flags.steps)
        with tempfile.TemporaryDirectory() as directory:
            with jax.profiler.trace(directory):
                step.run(flags.steps)
            (file,) = Path(directory).rglob("*.xplane.pb")
            trace = jax.profiler.ProfileData.from_file(str(file))
        result[name] = by_time(trace, layers_by_kernel(compiled), flags.steps)
    return result


def layers_by_kernel(compiled: jax.stages.Compiled) -> dict[str, str]:
    """The layer and the direction of instructions, by the names that their kernels have."""
    model = alexnet.paper("imagenet2012").model
    layers, result = [*model.convs, *model.dense], {}
    for instruction in hlo.instructions(hlo.program_text(compiled)):
        if named := set(layers) & set(instruction.op_name.split("/")):
            backward = " backward" if "transpose(" in instruction.op_name else ""
            result[kernel_name(instruction.name)] = min(named) + backward
    return result


def kernel_name(operation: str) -> str:
    return re.sub(r"\W", "_", operation)


def by_time(
    trace: jax.profiler.ProfileData, layers: dict[str, str], steps: int
) -> list[dict[str, Any]]:
    """What ran on the device in a step, the longest first.

    On GPUs that is all on their streams, also copies; on CPUs, XLA's operations.
    """
    times = collections.defaultdict(list)
    for plane in trace.planes:
        is_gpu = plane.name.startswith("/device:GPU")
        lines = [line for line in plane.lines if line.name.startswith("Stream") or not is_gpu]
        for event in itertools.chain.from_iterable(line.events for line in lines):
            operation = dict(event.stats).get("hlo_op")
            if operation or is_gpu:
                layer = layers.get(kernel_name(str(operation or event.name)), "")
                times[event.name, layer].append(event.duration_ns)
    rows = [
        {"kernel": name, "layer": layer, "calls": len(ns) / steps, "ms": sum(ns) / steps / 1e6}
        for (name, layer), ns in times.items()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def plan() -> Speeds:
    """What src.plan models for our step on one GPU."""
    flags = parse()
    card = gpu.load(flags.card)
    targets = compiler.gpus(card, "1x1x1")

    def speed(case: tuple[str, int]) -> float:
        precision, batch = case
        with jax.default_matmul_precision(PRECISIONS[precision].jax_products):
            program = compiler.compile_step(recipe(*case), training.CLASSES, targets, card)
        return batch / roofline.run(program, card, roofline.Assumptions()).seconds

    cases = list(itertools.product(PRECISIONS, flags.batches))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(itertools.starmap(case_name, cases), pool.map(speed, cases), strict=True))


def loader() -> dict[str, Any]:
    """The speed of loading photographs, with a reader for each core."""
    from benchmarks import pipeline

    return pipeline.main() | {"cores": len(os.sched_getaffinity(0))}


MEASUREMENTS = {f.__name__: f for f in (device, ours, pytorch, kernels, plan, loader)}

if __name__ == "__main__":
    what = argparse.ArgumentParser(add_help=False)
    what.add_argument("--what", choices=MEASUREMENTS, required=True)
    chosen, sys.argv[1:] = what.parse_known_args()
    print(json.dumps(MEASUREMENTS[chosen.what]()))
