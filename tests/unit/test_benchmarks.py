import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from benchmarks.table import AT_LEAST, AT_MOST, Row, ratio, render
from src.data.dataset import PreparedDataset


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
