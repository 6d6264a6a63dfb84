import importlib.util
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from benchmarks import gpu, gpu_parts
from benchmarks.gpu_parts import PRECISIONS, case_name
from benchmarks.table import AT_LEAST, AT_MOST, Row, ratio, render
from src.data.dataset import PreparedDataset
from tests.support.commands import environment

has_torch = importlib.util.find_spec("torch") is not None


def test_table():
    rows = [
        Row("speed", [2600, 2400, 2700], "images/s", (AT_LEAST, 2500)),
        Row("memory", [1.6], "GB", (AT_MOST, 1.5)),
        ratio("ours ÷ theirs", [2, 3], [1, 2], (AT_LEAST, 1)),
    ]
    lines = render({"all": rows}).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:]]
    assert cells == [
        ["speed", "2,600 images/s", "2,400 – 2,700", "≥ 2,500 images/s", "pass"],
        ["memory", "1.60 GB", "1.60 – 1.60", "≤ 1.5 GB", "FAIL"],
        ["ours ÷ theirs", "1.75 ×", "1.50 – 2.00", "≥ 1 ×", "pass"],
    ]


@pytest.mark.slow
def test_run_prints_and_keeps_the_table(tmp_path):
    numbers = tmp_path / "numbers.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.run",
        "--toy",
        "--only=pipeline",
        f"--json={numbers}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| this project, prepared" in done.stdout
    content = json.loads(numbers.read_text())
    assert "jax 0" in content["versions"]
    rows, serial, preparing = content["results"].values()
    assert {row["unit"] for row in serial} == {"µs", "images/s"}
    assert all(row["median"] > 0 for row in serial + preparing)
    assert rows[0]["unit"] == "images/s"
    assert rows[0]["median"] > 0


@pytest.mark.slow
def test_rehearsal(tmp_path):
    numbers = tmp_path / "numbers.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.rehearsal",
        "--records=2000",
        "--smaller=10",
        "--rounds=1",
        f"--root={tmp_path}",
        f"--json={numbers}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| **Shuffling an epoch**" in done.stdout
    results = json.loads(numbers.read_text())["results"]
    assert [len(rows) for rows in results.values()] == [2, 2, 2, 1, 4]
    assert all(row["unit"] for rows in results.values() for row in rows)

    opened = {
        p.num_examples["train"]: p for p in map(PreparedDataset, tmp_path.glob("rehearsal-*"))
    }
    assert sorted(opened) == [200, 2000]
    prepared = opened[2000]
    assert prepared.num_examples == {"train": 2000, "validation": 79}
    assert len(prepared.class_names) == 1000
    labels = prepared.records("train").read(np.arange(2000))[1]
    assert labels.tolist() == [i % 1000 for i in range(2000)]
    source = tfds.builder_from_directory(prepared.directory).as_data_source("train")
    assert [source[i]["label"] for i in (0, 999, 1000)] == [0, 999, 0]
    assert source[0]["image"].shape == (16, 16, 3)


def test_gpu_table_compares_speeds_of_the_same_round():
    speeds = [
        {"ours": {"TF32 8": 300}, "PyTorch": {"TF32 8": 100}, "compiled": {"TF32 8": 200}},
        {"ours": {"TF32 8": 500}, "PyTorch": {"TF32 8": 250}, "compiled": {}},
        {"ours": {"TF32 8": 900, "TF32 16": 950}, "PyTorch": {"TF32 8": 300}, "compiled": {}},
    ]
    modelled = dict.fromkeys([case_name(p, b) for p in PRECISIONS for b in (8, 16)], 700)
    rows = gpu.step_rows({"rounds": speeds, "modelled": modelled}, [8, 16])
    assert rows[0] == [
        "",
        "images",
        "ours",
        "min – max",
        "PyTorch",
        "compiled",
        "÷ best",
        "modelled",
    ]
    by_case = {tuple(row[:2]): row[2:] for row in rows}
    assert by_case["TF32", "8"] == ["500", "300 – 900", "250", "200", "2.00", "700"]
    assert by_case["TF32", "16"] == ["950", "950 – 950", "–", "–", "–", "700"]
    assert by_case["float32", "8"] == ["–", "–", "–", "–", "–", "700"]


# As an error, this warning of JAX's reader aborts Python 3.13.
@pytest.mark.filterwarnings("ignore:builtin type event_stats has no __module__")
def test_gpu_kernels_are_those_on_streams():
    text = """
    planes {
      name: "/device:GPU:0"
      lines {
        name: "Stream #7(Compute)"
        events {
          metadata_id: 1 duration_ps: 3000000000 stats { metadata_id: 1 str_value: "conv.5" }
        }
        events {
          metadata_id: 1 duration_ps: 5000000000 stats { metadata_id: 1 str_value: "conv.5" }
        }
        events { metadata_id: 2 duration_ps: 6000000000 }
        events { metadata_id: 3 duration_ps: 500000000 }
      }
      lines { name: "XLA Ops" events { metadata_id: 2 duration_ps: 9000000000 } }
      event_metadata { key: 1 value { id: 1 name: "sm90_fprop" } }
      event_metadata { key: 2 value { id: 2 name: "loop_add_fusion_3" } }
      event_metadata { key: 3 value { id: 3 name: "MemcpyD2D" } }
      stat_metadata { key: 1 value { id: 1 name: "hlo_op" } }
    }
    planes {
      name: "/host:CPU"
      lines { name: "python" events { metadata_id: 1 duration_ps: 7000000000 } }
      event_metadata { key: 1 value { id: 1 name: "train" } }
    }
    """
    trace = jax.profiler.ProfileData.from_text_proto(text)
    layers = {"conv_5": "conv1 backward", "loop_add_fusion_3": "fc6"}
    assert gpu_parts.by_time(trace, layers, steps=2) == [
        {"kernel": "sm90_fprop", "layer": "conv1 backward", "calls": 1, "ms": 4},
        {"kernel": "loop_add_fusion_3", "layer": "fc6", "calls": 0.5, "ms": 3},
        {"kernel": "MemcpyD2D", "layer": "", "calls": 0.5, "ms": 0.25},
    ]


def test_gpu_keeps_the_other_results_of_a_failure(tmp_path, monkeypatch, capsys):
    device = {"platform": "gpu", "kind": "A card", "runtime": "of tests", "pytorch": True}

    def run_worker(module, **flags):
        if flags.get("compiled"):
            raise SystemExit("error: -m benchmarks.gpu_parts --what=pytorch --compiled=1 failed")
        speeds = {case_name(p, b): 100.0 for p in PRECISIONS for b in (128, 256, 512)}
        loader = {"images_per_second": 25000, "cores": 16}
        others = {"device": device, "loader": loader, "kernels": {"TF32": []}}
        return others.get(flags.get("what"), speeds)

    monkeypatch.setattr(gpu, "run_worker", run_worker)
    monkeypatch.setattr(sys, "argv", ["gpu", "--minutes=0", f"--json={tmp_path / 'numbers.json'}"])
    gpu.main()
    results = json.loads((tmp_path / "numbers.json").read_text())
    failed = "-m benchmarks.gpu_parts --what=pytorch --compiled=1 failed; its message is above"
    unknown = "the planner does not know 'A card': nothing is modelled"
    assert results["notes"] == [failed, unknown]
    assert [each["compiled"] for each in results["rounds"]] == [{}]  # no time for another round
    printed = capsys.readouterr().out
    assert failed in printed
    assert unknown in printed
    assert "Kernels of a step in TF32, 128 images: 0.00 ms\n  the trace has no kernels" in printed
    assert "Loader, 224-crops of 256 px: 25,000 images/s on 16 cores" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.split()[:2] == ["TF32", "512"]]
    assert row == ["TF32", "512", "100", "100", "–", "100", "100", "–", "1.00"]


@pytest.mark.slow
def test_gpu_without_a_gpu_is_one_line():
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=hidden)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: no GPU: JAX finds only 'cpu'")


@pytest.mark.slow
def test_gpu_rehearsal_measures_all(tmp_path, cache):
    numbers = tmp_path / "numbers.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--platform=cpu", f"--json={numbers}"]
    fast = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "TORCH_COMPILE_DISABLE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**environment(cache), **fast}
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(numbers.read_text())
    (speeds,) = results["rounds"]
    assert list(speeds) == ["ours", "PyTorch", "compiled"][: 3 if has_torch else 1]
    for name in speeds:
        assert speeds[name].keys() == {"float32 2", "TF32 2", "bfloat16 2"}
        assert all(speed > 0 for speed in speeds[name].values())
    assert results["kernels"].keys() == set(PRECISIONS)
    for rows in results["kernels"].values():
        assert {"fc6 backward", "fc7 backward"} <= {row["layer"] for row in rows}
    assert results["loader"]["images_per_second"] > 0
    assert results["loader"]["cores"] == len(os.sched_getaffinity(0))
    (note,) = [note for note in results["notes"] if "planner" in note]
    assert note == "the planner does not know 'cpu': nothing is modelled"
    assert all(line in done.stdout for line in ("÷ best" if has_torch else "ours", note))
