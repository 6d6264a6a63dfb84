"""The planner: what it reads from compiled programs, and what it computes from that."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict

from configs.alexnet import paper
from src.cli.app import run_command
from src.distributed.mesh import make_mesh
from src.errors import UserError, check_extra
from src.plan import __main__ as command
from src.plan import compiler, gpu, hlo, plan, roofline
from src.training import step as step_module
from src.training.step import lower_step
from tests.support import miniature
from tests.support.commands import run

PARAMETERS = 60_965_224
EXCHANGED = 30_336  # values per image and direction, with the paper's column split


def has_extra() -> bool:
    try:
        check_extra("plan")
    except UserError:
        return False
    return True


needs_extra = pytest.mark.skipif(not has_extra(), reason="needs the extra `plan`")


@functools.cache
def step(model: int, device: str, images: int = 4, topology: str = "1x1x2") -> compiler.Program:
    config = paper("none")
    config.batch_size, config.mesh.model = images, str(model)
    if device == "cpu":
        mesh = make_mesh(config.mesh, towers=2, devices=jax.devices()[:2])
        compiled = lower_step(config, 1000, mesh).compile()
        return compiler.read_program(config, 1000, mesh, compiled)
    described = gpu.load(device)
    return compiler.compile_step(config, 1000, compiler.gpus(described, topology), described)


def large(program: compiler.Program, kind: str) -> list[hlo.Collective]:
    return [c for c in program.collectives if c.kind == kind and c.bytes > hlo.SMALL]


@needs_extra
@pytest.mark.parametrize("kind", ["all-gather", "reduce-scatter"])
def test_towers_exchange_the_papers_activations(kind: str) -> None:
    exchanged = large(step(2, "h100"), kind)
    assert sorted(collective.layers for collective in exchanged) == [
        ["conv3"], ["fc6"], ["fc7"], ["fc8"],
    ]  # fmt: skip
    assert sum(collective.bytes_sent for collective in exchanged) == 4 * EXCHANGED * 4


@needs_extra
def test_data_shards_all_reduce_every_gradient() -> None:
    collectives = step(1, "h100").collectives
    assert {collective.kind for collective in collectives} == {"all-reduce"}
    assert sum(c.bytes_sent for c in collectives) == pytest.approx(243.9e6, rel=1e-3)
    assert sum(c.bytes_sent for c in collectives) == pytest.approx(4 * PARAMETERS, abs=1000)
    *small, fc7, fc6 = sorted(collectives, key=lambda collective: collective.bytes)
    assert (fc7.layers, fc6.layers) == (["fc7"], ["fc6"])
    assert {layer for collective in small for layer in collective.layers} == {
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8",
    }  # fmt: skip


@needs_extra
@pytest.mark.slow
def test_options_of_training_shorten_the_waits_for_collectives() -> None:
    config, h100 = paper("none"), gpu.load("h100")
    config.dtype, config.batch_size = "bfloat16", 4096
    devices = compiler.gpus(h100, "1x8x8")

    def exposed() -> float:
        program = compiler.compile_step(config, 1000, devices, h100)
        return roofline.run(program, h100, roofline.Assumptions()).exposed

    chosen = exposed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_module, "compiler_options", lambda mesh: {})
        patch.setattr(compiler, "compiler_options", lambda mesh: {})
        assert chosen < 0.5 * exposed()


@needs_extra
@pytest.mark.parametrize("model", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_gpu_and_cpu_programs_have_the_same_collectives(model: int) -> None:
    def bytes_by_kind(program: compiler.Program) -> dict[str, int]:
        kinds = {collective.kind for collective in program.collectives}
        return {k: sum(c.bytes for c in large(program, k)) for k in kinds}

    on_gpus, on_cpus = bytes_by_kind(step(model, "h100")), bytes_by_kind(step(model, "cpu"))
    assert on_gpus.keys() == on_cpus.keys()
    assert on_gpus == pytest.approx(on_cpus, abs=hlo.SMALL)  # XLA may merge sums into gradients


@needs_extra
@pytest.mark.parametrize("model", [1, 2])
def test_memory_counts_parameters_optimizer_and_activations(model: int) -> None:
    memory = step(model, "h100").memory
    assert memory.parameters == memory.optimizer == 4 * PARAMETERS // model
    # Values per image, each counted once.
    maps = 55 * 55 * 96 + 27 * 27 * 256 + 13 * 13 * (384 + 384 + 256)
    assert memory.activations > 4 * maps * 4 / 2
    parts = memory.parameters + memory.optimizer + memory.inputs
    assert memory.total == parts + memory.activations + memory.temporary


@needs_extra
@pytest.mark.slow
def test_collectives_across_hosts_use_their_members_network() -> None:
    program = step(2, "h100", 8, "1x2x4")
    described = gpu.load("h100")
    timings = roofline.run(program, described, roofline.IDEAL).collectives
    bandwidths = {(len(t.collective.groups[0]), t.across_hosts): t.bandwidth for t in timings}
    # Four of the eight GPUs hold the same tower, two on each host.
    assert bandwidths == {(2, False): described.nvlink, (4, True): 2 * described.network}
    assert program.images_per_host() == 4


@needs_extra
def test_step_time_is_the_sum_of_its_parts() -> None:
    timeline = roofline.run(step(2, "h100"), gpu.load("h100"), roofline.Assumptions())
    kernels = sum(part.seconds for part in timeline.parts.values())
    assert timeline.seconds == pytest.approx(kernels + timeline.exposed)
    assert 0 < timeline.exposed < sum(timing.seconds for timing in timeline.collectives)
    # Forward, and both gradients, but not the gradient of the image.
    convolutions = 665_784_864 + 2 * 665_784_864 - 105_415_200
    assert timeline.parts["convolutions"].flops == 2 * convolutions * 4 / 2
    # Each GPU computes half of the classes, padded to a multiple of eight.
    products = 37_748_736 + 16_777_216 + 4096 * 504 * 2
    assert timeline.parts["products"].flops == pytest.approx(2 * 3 * products * 4 / 2, rel=0.01)


@needs_extra
def test_products_are_compiled_by_triton_as_in_training() -> None:
    program = step(2, "h100")
    assert not any("__cublas$" in i.attributes for i in program.instructions)
    products = [product for i in program.instructions if (product := program.product_in(i))]
    layers = [re.findall(r"/(fc\d)/", product.op_name) for product in products]
    # Forward, and both gradients; the other product is that of the color noise.
    assert sorted(layers) == [[], *[["fc6"]] * 3, *[["fc7"]] * 3, *[["fc8"]] * 3]


@needs_extra
@pytest.mark.slow
def test_largest_batch_is_within_2_percent_of_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    totals = {}
    compile_step = compiler.compile_step

    def recorded(config: ConfigDict, *arguments: Any) -> compiler.Program:
        program = compile_step(config, *arguments)
        totals[config.batch_size] = program.memory.total
        return program

    monkeypatch.setattr(compiler, "compile_step", recorded)
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "0.01")
    described, config = gpu.load("h100"), miniature.config()
    workload = plan.Workload(config, miniature.NUM_CLASSES, None, described, "1x1x2")
    largest = plan.find_largest_batch(workload, workload.compile())
    fits, too_many = largest["batch_size"], largest["does_not_fit"]
    assert totals[fits] <= plan.usable(described) < totals[too_many]
    assert fits < too_many <= fits + max(1, fits // 50)


@needs_extra
@pytest.mark.slow
def test_command_prints_json(tmp_path: Path) -> None:
    ended = run(
        "src.plan", "--config=configs/alexnet.py:imagenet2012", "--topology=1x1x1", "--json",
        "--config.batch_size=11900",  # from this batch, the search for the largest one is short
        cache=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    printed = json.loads(ended.stdout)
    assert printed["collectives"] == []
    assert printed["memory"]["parameters"] == 4 * PARAMETERS
    seconds = 90 * 1_281_167 / printed["images_per_second"]
    assert printed["hours_for_90_epochs"] == pytest.approx(seconds / 3600)
    assert printed["images_per_second"] < printed["ideal_images_per_second"]


INVALID_FLAGS = {
    "--gpu=k80": "--gpu=k80: must be one of a100, a100_pcie_40gb, a100_sxm4_40gb, b200, h100, "
    "h200, p100, v100, v100_sxm3_32gb",
    "--topology=8": "--topology=8: give PARTITIONSxHOSTSxGPUS",
    "--topology=1x0x8": "--topology=1x0x8",
    "--config.batch_size=100": "config.batch_size: 256 data shards do not divide",
    "--config.mesh.model=3": "config.mesh.model: 3",
    "--config.dtype=float16": "config.dtype: 'float16'",
    "--examples=0": "--examples=0: 0 is not a positive integer",
    "--classes=-5": "--classes=-5: -5 is not a positive integer",
    "--network_gbps=nan": "--network_gbps=nan: must be a positive number",
    "more": "'more'",
}


@needs_extra
@pytest.mark.parametrize("flag", INVALID_FLAGS)
def test_command_reports_an_invalid_flag_in_one_line(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--config=configs/alexnet.py:imagenet2012", "--topology=1x64x8", flag]
    assert run_command(command.main, command.FLAGS, command.__doc__, argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert INVALID_FLAGS[flag] in line


@pytest.mark.parametrize("key", gpu.known())
def test_gpu_description_has_numbers_and_a_source(key: str) -> None:
    described = gpu.load(key)
    assert described.source.startswith("https://")
    assert "threads_per_warp: 32" in described.target
    assert described.peak("f32") <= described.peak("bf16") or "bfloat16" not in described.flops
    assert described.nvlink > described.network


def test_gpu_description_without_a_number_is_rejected() -> None:
    text = (gpu.DIRECTORY / "h100.toml").read_text()
    assert gpu.parse("h100", text).memory == 80e9
    with pytest.raises(UserError, match="multiprocessors=None"):
        gpu.parse("h100", text.replace("\nmultiprocessors", "\nprocessors"))
    with pytest.raises(UserError, match="clock_ghz=0"):
        gpu.parse("h100", text.replace("clock_ghz = 1.980", "clock_ghz = 0"))


@pytest.mark.parametrize(
    ("total", "start"),
    [
        (lambda n: 100 + 7 * n, 1),
        (lambda n: 100 + 7 * n, 100_000),
        (lambda n: 100 + 7 * n + (500 if n > 900 else 0), 8),
        (lambda n: 100 + int(n**1.1), 8),
    ],
)
def test_search_finds_the_limit_within_2_percent(total: Callable[[int], int], start: int) -> None:
    tried = []

    def counted(n: int) -> int:
        tried.append(n)
        return total(n)

    fits, too_many = plan.search(counted, 10_000, {start: total(start)}, 1000)
    assert total(fits) <= 10_000 < total(too_many)
    assert too_many - fits <= max(1, fits // 50)
    assert len(tried) < 12


def test_search_returns_zero_if_nothing_fits() -> None:
    assert plan.search(lambda n: 10 + n, 5, {8: 18}, 4) == (0, 1)
