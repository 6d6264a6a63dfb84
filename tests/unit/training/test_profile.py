"""The trace of some steps."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from src.training.profile import BEFORE, profiled


def traced_steps(workdir: Path) -> list[int]:
    (trace,) = (workdir / "profile").glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return sorted(int(e["args"]["step_num"]) for e in events if "step_num" in e.get("args", {}))


def test_trace_names_its_steps_and_leaves_out_the_first(tmp_path: Path) -> None:
    step = jax.jit(jnp.sin)
    with profiled(iter([{"image": jnp.ones(4)}] * 20), 100, 3, tmp_path) as batches:
        used = [step(batch["image"]) for batch in batches]
    assert len(used) == 20
    assert traced_steps(tmp_path) == [100 + BEFORE + i for i in range(3)]
    assert list((tmp_path / "profile").glob("plugins/profile/*/*.xplane.pb"))


def test_run_that_ends_early_leaves_the_trace_so_far(tmp_path: Path) -> None:
    with profiled(iter([{"image": jnp.ones(4)}] * 20), 0, 10, tmp_path) as batches:
        for _ in range(BEFORE + 2):
            next(batches)
    assert traced_steps(tmp_path) == [BEFORE, BEFORE + 1]


def test_nothing_is_traced_unasked(tmp_path: Path) -> None:
    with profiled(iter([{"image": jnp.ones(4)}] * 20), 0, 0, tmp_path) as batches:
        assert len(list(batches)) == 20
    assert list(tmp_path.iterdir()) == []
