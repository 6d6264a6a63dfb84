import importlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.errors import EXIT_PREEMPTED, UserError
from src.experiment.analysis import describe_results, format_results
from src.experiment.runner import run_experiment
from src.experiment.spec import changed, comparison
from src.inference.ensemble import evaluate_ensemble
from src.runs.config import write_config
from tests.support import commands, tiny
from tests.support.commands import free_port
from tests.support.finished import write_run
from tests.support.launched import SOON, wait_for

EXPERIMENTS = sorted(
    path.stem
    for path in (commands.ROOT / "configs/experiments").glob("*.py")
    if "def get_config" in path.read_text()
)


def get_config(name: str, dataset: str = "digits") -> ConfigDict:
    return importlib.import_module(f"configs.experiments.{name}").get_config(dataset)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_short_version_writes_all_results(name: str, tmp_path: Path, cache: Path) -> None:
    flags = [f"--config=configs/experiments/{name}.py:digits", f"--workdir={tmp_path}"]
    if name == "ensemble":  # its short version takes two minutes
        flags += ["--config.variants['80sec'].duration=8 steps", "--config.seeds=0,1"]
    ended = commands.run("src.experiment", *flags, cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert ended.stdout == f"\n{format_results(results)}\nsee {tmp_path}\n"
    assert [*results["variants"]] == list(get_config(name).order)
    for variant_name, variant in results["variants"].items():
        assert f"\n  {variant_name} " in ended.stdout
        for run in variant["runs"].values():
            assert 0 < run["top1_error"] < 1
            assert run["curves"]["evaluation"]
        if variant["average"] is not None:
            members = [tmp_path / variant_name / f"seed{seed}" for seed in variant["runs"]]
            assert variant["average"] == evaluate_ensemble(members)["top1_error"]
    assert (tmp_path / "table.md").read_text() == describe_results(results)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    smoke = "Smoke test: too short to test the hypothesis"
    assert (smoke in (tmp_path / "figure.svg").read_text()) == (name != "ensemble")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["conv-local-13pct", "conv-local-11pct"])
def test_large_networks_learn_in_two_epochs(network: str, tmp_path: Path, cache: Path) -> None:
    ended = commands.run(
        "src.main",
        f"--config=configs/cifar.py:{network}",
        "--config.data.dataset=digits",
        "--config.duration=2 epochs",
        f"--workdir={tmp_path}",
        cache=cache,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["views"] == 9
    assert result["loss"] < 2 * math.log(10)


@pytest.mark.slow
def test_preempted_experiment_resumes_with_the_same_results(tmp_path: Path, cache: Path) -> None:
    def flags(name: str) -> list[str]:
        return ["--config=tests/support/tiny_experiment.py", f"--workdir={tmp_path / name}"]

    uninterrupted = commands.run("src.experiment", *flags("uninterrupted"), cache=cache)
    assert uninterrupted.returncode == 0, uninterrupted.stderr

    second = tmp_path / "stopped/tanh/seed0/metrics.jsonl"
    with commands.start("src.experiment", *flags("stopped"), cache=cache) as process:
        wait_for(lambda: second.exists() and second.read_text())
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=300)
    assert process.returncode == EXIT_PREEMPTED, err
    assert not (tmp_path / "stopped/results.json").exists()

    again = commands.run("src.experiment", *flags("stopped"), cache=cache)
    assert again.returncode == 0, again.stderr
    assert "is finished after" in again.stderr  # the first run is not trained again
    results = [
        json.loads((tmp_path / name / "results.json").read_text())["variants"]
        for name in ("uninterrupted", "stopped")
    ]
    for variants in results:
        for variant in variants.values():
            for run in variant["runs"].values():
                del run["seconds"]
                machine = run.pop("machine")
                assert machine["device"] == "cpu"
                assert machine["devices"] == min(2, os.cpu_count() or 1)
    assert results[0] == results[1]

    files = [tmp_path / "stopped" / name for name in ("results.json", "table.md")]
    before = [file.read_text() for file in files]
    assert commands.run("src.experiment", *flags("stopped"), cache=cache).returncode == 0
    assert [file.read_text() for file in files] == before


@pytest.mark.slow
def test_copied_finished_run_is_not_trained_again(tmp_path: Path, cache: Path) -> None:
    def trained(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
        common = ["--config=tests/support/tiny_experiment.py", f"--workdir={tmp_path / name}"]
        return commands.run("src.experiment", *common, *flags, cache=cache)

    assert trained("first", "--config.order=('relu',)").returncode == 0
    run = tmp_path / "second/relu/seed0"
    shutil.copytree(
        tmp_path / "first/relu/seed0", run, ignore=shutil.ignore_patterns("checkpoints")
    )
    both = trained("second")
    assert both.returncode == 0, both.stderr
    assert "\n  relu " in both.stdout
    assert "\n  tanh " in both.stdout
    assert not any((run / "checkpoints").glob("*"))


@pytest.mark.slow
def test_all_processes_average_the_networks_that_did_not_diverge(
    tmp_path: Path, cache: Path
) -> None:
    contract = {"COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "NUM_PROCESSES": "2"}
    flags = [
        "--config=tests/support/tiny_experiment.py",
        f"--workdir={tmp_path}",
        "--config.average=True",
    ]
    flags += ["--config.seeds=0,1", "--config.variants.tanh.schedule.learning_rate=1e30"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "src.experiment", *flags],
            cwd=commands.ROOT,
            env={**commands.environment(cache), **contract, "PROCESS_ID": index},
        )
        for index in ("0", "1")
    ]
    assert [process.wait(SOON) for process in started] == [0, 0]
    relu, tanh = json.loads((tmp_path / "results.json").read_text())["variants"].values()
    assert ["diverged" in run for run in tanh["runs"].values()] == [True, True]
    assert tanh["average"] is None
    members = [tmp_path / "relu" / f"seed{seed}" for seed in relu["runs"]]
    assert relu["average"] == pytest.approx(evaluate_ensemble(members)["top1_error"])


def test_diverged_run_is_reported_and_not_trained_again(
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = changed(
        tiny.get_config(),
        {"data.root": str(cache / "prepared"), "mesh.data": "8", "mesh.model": "1"},
    )
    too_high = changed(recipe, {"schedule.learning_rate": 1e30})
    recipes = {"plain": too_high, "better": recipe}
    config = comparison("It works", recipes, seeds=(3,), rates={"better": (0.01, 1e30)})
    group = ProcessGroup(process_info({}), tiny.get_config().processes)

    def experiment() -> tuple[dict[str, Any], str, str]:
        caplog.clear()
        results = run_experiment(config, tmp_path, group)
        assert results
        written = json.loads((tmp_path / "results.json").read_text())
        assert written == json.loads(json.dumps(results))
        assert (tmp_path / "table.md").read_text() == describe_results(results)
        out, err = capsys.readouterr()
        assert out == ""
        return written["variants"], "\n".join(caplog.messages), err

    variants, log, err = experiment()
    assert re.search("^better, rate 1e\\+30: step .*nan", log, re.MULTILINE)
    assert re.search("^plain, seed 3: step .*nan", log, re.MULTILINE)
    assert "3/4 plain, seed 3:  33%" in err  # steps that the search skipped count
    assert re.search(r"4/4 better, seed 3: 100%.* 24/24 ", err)
    assert "nan" in variants["plain"]["runs"]["3"]["diverged"]
    assert variants["better"]["lr_search_results"]["1e+30"] is None
    assert variants["better"]["runs"]["3"]["measured"] > 0

    again, log, err = experiment()
    assert again == variants
    assert log.count("remove it to try again") == 2
    assert re.search(r"4/4 better, seed 3: 100%.* 24/24 ", err)

    config.variants.plain = changed(recipe, {"batch_size": 16})  # so it is another run
    variants, log, _ = experiment()
    assert variants["plain"]["runs"]["3"]["measured"] > 0
    assert log.count("remove it to try again") == 1


def test_other_settings_in_a_run_directory_are_reported_before_training(
    tmp_path: Path, cache: Path
) -> None:
    recipe = changed(tiny.get_config(), {"data.root": str(cache / "prepared")})
    config = comparison("It works", {"plain": recipe, "better": recipe}, seeds=(3,))
    last = write_run(tmp_path / "better/seed3", [0.5], 0.3)
    write_config(last, changed(recipe, {"seed": 4}))
    group = ProcessGroup(process_info({}), recipe.processes)
    with pytest.raises(UserError, match=r"better/seed3: its run has other settings"):
        run_experiment(config, tmp_path, group)
    assert not (tmp_path / "plain/seed3/config.json").exists()


@pytest.mark.parametrize(
    ("module", "config", "message"),
    [
        ("src.experiment", "tests/support/tiny.py", "--config: a recipe, not an experiment"),
        ("src.main", "tests/support/tiny_experiment.py", "--config: an experiment, not a recipe"),
    ],
)
def test_commands_distinguish_recipes_and_experiments(
    module: str, config: str, message: str, cache: Path
) -> None:
    ended = commands.run(module, f"--config={config}", cache=cache)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {message}")
    assert len(ended.stderr.splitlines()) == 1


def test_invalid_config_is_reported_before_anything_is_written(tmp_path: Path, cache: Path) -> None:
    flags = ["--config=tests/support/tiny_experiment.py", "--config.seeds=1,1"]
    ended = commands.run("src.experiment", *flags, f"--workdir={tmp_path / 'runs'}", cache=cache)
    assert ended.returncode == 2
    assert ended.stderr == "error: config.seeds: 1, 1 has a value twice\n"
    assert not (tmp_path / "runs").exists()
