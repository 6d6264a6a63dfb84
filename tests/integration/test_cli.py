"""Every mistake on the command line ends with status 2 and one line that names it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.commands import run

MISTAKES = {
    "--config=configs/nothing.py": "--config: No such file or directory: 'configs/nothing.py'",
    "--config.nothing=1": "'nothing'",
    "--config.model.nothing=1": "'nothing'",
    "--config.nothing.at_all=1": "no field 'nothing'",
    "--config.batch_siz=2": 'Did you mean "batch_size"',
    "--config.batch_size=many": "--config.batch_size=many",
    "--config.batch_size=0": "config.batch_size: 0",
    "--config.duration=3 weeks": "config.duration: '3 weeks'",
    "--config.dtype=float16": "config.dtype: 'float16'",
    "--config.views=5": "config.views: 5",
    "--config.augment.color=sepia": "config.augment.color: 'sepia'",
    "--config.schedule.name=slow": "config.schedule.name: 'slow'",
    "--config.data.size=60": "config.data.size: images of 60",
    "--config.model.towers=3": "config.model.towers: 3",
    "--config.model.activation=gelu": "config.model.activation: 'gelu'",
    "--config.mesh.model=2": "config.mesh.model: 2",
    "--config.mesh.data=two": "config.mesh.data: 'two'",
    "--config=configs/small.py:no_such_set": "config.data.dataset='no_such_set'",
    "--config=configs/small.py:folder:no/such": "config.data.dataset='folder:no/such'",
    "--config=configs/cifar.py:20pct": "error: --config: '20pct' is none of 80sec",
    "--nothing": "nothing",
    "nothing": "'nothing'",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    workdir = tmp_path_factory.mktemp("mistakes")

    def outcome(mistake: str) -> tuple[int, str]:
        done = run(
            "src.main", "--config=configs/small.py", mistake, f"--workdir={workdir}", cache=workdir
        )
        return done.returncode, done.stderr

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(MISTAKES, pool.map(outcome, MISTAKES), strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(mistake: str, outcomes: dict[str, tuple[int, str]]) -> None:
    status, stderr = outcomes[mistake]
    assert status == 2, stderr
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    assert MISTAKES[mistake] in line
    assert "Traceback" not in line


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    done = run("src.prepare", "--config=configs/experiments/crops.py", cache=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --config: the file is no recipe: it has no get_config\n"


@pytest.mark.parametrize(
    ("command", "flag", "first"),
    [
        ("main", "--help", "--config="),
        ("experiment", "-h", "--config="),
        ("report", "--help=true", "--workdir="),
        ("predict", "--h", "--workdir="),
    ],
)
def test_help_shows_the_command_and_its_flags(
    command: str, flag: str, first: str, tmp_path: Path
) -> None:
    done = run(f"src.{command}", flag, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"python -m src.{command} {first}" in done.stdout
    assert "--workdir:" in done.stdout


@pytest.mark.parametrize(
    ("command", "missing"),
    [("experiment", "--config"), ("report", "--workdir"), ("retrieve", "--workdir, --index")],
)
def test_a_flag_that_is_missing_is_named(command: str, missing: str, tmp_path: Path) -> None:
    done = run(f"src.{command}", cache=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: {missing}: not given\n"


def test_the_default_recipe_says_that_it_takes_the_small_one(tmp_path: Path) -> None:
    done = run("src.main", "--config.dtype=float16", cache=tmp_path)
    assert "taking that of configs/small.py" in done.stderr


@pytest.mark.parametrize(
    ("config", "workdir"),
    [
        ("configs/small.py", "runs/small-digits"),
        ("configs/alexnet.py:imagenette/320px-v2", "runs/alexnet-imagenette-320px-v2"),
        ("configs/small.py:folder:../some/photos/", "runs/small-photos"),
    ],
)
def test_the_default_workdir_names_recipe_and_data(config: str, workdir: str) -> None:
    from src import main

    main.FLAGS(["main", f"--config={config}"])
    assert main.default_workdir() == workdir
