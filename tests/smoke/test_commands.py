"""Every command runs, in this process, on a run of seconds."""

import importlib
import json
import shutil
from pathlib import Path

import jax.export
import numpy as np
import pytest
from PIL import Image

from src.cli.app import run_command
from src.inference.classifier import load
from tests.support.runs import arguments


def run(module: str, *argv: str | Path) -> int:
    command = importlib.import_module(f"src.{module}")
    return run_command(command.main, command.FLAGS, command.__doc__, [str(a) for a in argv])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    return path


def test_main_and_prepare(digits_run: Path, cache: Path, capsys) -> None:
    assert run("main", *arguments(digits_run, cache)) == 0
    assert "is finished" in capsys.readouterr().out
    config = arguments(digits_run, cache)
    assert run("prepare", *(flag for flag in config if not flag.startswith("--workdir"))) == 0
    assert "10 classes, 1437 for train, 360 for test" in capsys.readouterr().out


def test_evaluate(digits_run: Path, capsys) -> None:
    assert run("evaluate", f"--workdir={digits_run}") == 0
    assert "(360 images, 1 view)" in capsys.readouterr().out


def test_predict(digits_run: Path, image: Path, capsys) -> None:
    assert run("predict", f"--workdir={digits_run}", "--json", image) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 5


def test_retrieve(digits_run: Path, image: Path, capsys) -> None:
    assert run("retrieve.__main__", f"--workdir={digits_run}", "--index=test", "--json", image) == 0
    assert len(json.loads(capsys.readouterr().out)["nearest"]) == 6


def test_report(digits_run: Path) -> None:
    assert run("report.__main__", f"--workdir={digits_run}") == 0
    assert (digits_run / "report/index.html").stat().st_size > 10_000


def test_figures(tmp_path: Path, capsys) -> None:
    out = f"--out={tmp_path}"
    (tmp_path / "mine").mkdir()
    shutil.copy("results/ensemble.json", tmp_path / "mine" / "results.json")
    named = ["results/towers.json", tmp_path / "mine" / "results.json"]
    assert run("figures.__main__", *named, out, "--formats=svg,png") == 0
    assert run("figures.__main__", "--config=configs/small.py", out) == 0
    names = [f"{name}{end}" for name in ("towers", "mine") for end in (".svg", ".png", "-dark.png")]
    names += ["figure2.svg", "figure2-phone.svg"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names]
    text = (tmp_path / "figure2.svg").read_text()
    assert "Two towers that exchange feature maps only before conv3, fc6, fc7 and fc8" in text
    assert ">64 × 64 × 3</text>" in text
    for wrong, message in {
        "--formats=svg,gif": "'gif' is not one of svg, pdf, png",
        "missing.json": "missing.json: no such file",
        "results/faults.jsonl": "faults.jsonl: damaged",
        "--config=tests/support/tiny_experiment.py": "--config: an experiment, not a recipe",
        f"{out}/towers.svg": "towers.svg: File exists; choose another --out=DIR",
    }.items():
        assert run("figures.__main__", out, wrong) == 2
        assert message in capsys.readouterr().err


def test_export_and_convert(digits_run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported" / "net.jax"
    assert run("export.__main__", f"--workdir={digits_run}", f"--out={exported}") == 0
    assert exported.with_name("README.md").exists()
    classifier = load(digits_run)
    size = classifier.config.data.size
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    probabilities = jax.export.deserialize(bytearray(exported.read_bytes())).call(images)
    np.testing.assert_allclose(probabilities, classifier(images), rtol=1e-4, atol=1e-6)
    weights = tmp_path / "net.safetensors"
    assert run("convert.__main__", f"--workdir={digits_run}", f"--to={weights}") == 0
    assert weights.exists()


def test_plan_and_experiment_say_what_is_missing(capsys) -> None:
    assert run("plan.__main__", "--gpu=abacus") == 2
    assert "abacus" in capsys.readouterr().err
    assert run("experiment.__main__", "--config=configs/small.py") == 2
    assert "experiment" in capsys.readouterr().err
