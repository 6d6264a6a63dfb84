"""The command line: mistakes exit with status 2 and one error line; help, flags and logs."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from src import main, predict
from src.cli.app import run_command
from src.cli.flags import CommandFlags
from tests.support.commands import ROOT, call, run

MISTAKES = {
    "--config=configs/nothing.py": "No such file or directory: 'configs/nothing.py'",
    "--config=README.md": "--config: unterminated string literal",
    "--config.nothing=1": "--config: no field 'nothing'",
    "--config.model.nothing=1": "--config: no field 'nothing'",
    "--config.nothing.at_all=1": "--config: no field 'nothing'",
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
    "--config.mesh.model=3": "config.mesh.model: 3",
    "--config.mesh.data=two": "config.mesh.data: 'two'",
    "--config=configs/small.py:no_such_set": "config.data.dataset='no_such_set'",
    "--config=configs/small.py:folder:no/such": "config.data.dataset='folder:no/such'",
    "--config=configs/cifar.py:20pct": "--config: '20pct' is not allowed; choose one of 80sec",
    "--config=finetune": "of which images? give finetune:folder:PATH",
    "--nothing": "nothing",
    "nothing": "'nothing'",
}


def test_status_is_told_although_the_disk_of_stderr_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "src.main", "--nothing"]
        assert subprocess.run(command, cwd=ROOT, stderr=full, check=False).returncode == 2


def test_failed_command_does_not_wait_for_its_threads() -> None:
    code = """
import threading
from src.cli.app import run
from src.cli.flags import CommandFlags
from src.errors import CommandError

def main():
    threading.Thread(target=threading.Event().wait).start()
    raise CommandError("the disk is full")

run(main, CommandFlags(), None)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 1


@pytest.fixture(autouse=True)
def keep_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.main.exit_on_signal", lambda: None)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line.removeprefix("error: ")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_reported_in_one_line(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("src.main", "--config=configs/small.py", mistake, f"--workdir={tmp_path}") == 2
    assert MISTAKES[mistake] in error_line(capsys)


def test_command_process_exits_with_error_line_and_status(tmp_path: Path) -> None:
    done = run("src.main", "--config=configs/small.py", "--config.seeds=1", cache=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --config: no field 'seeds'")
    assert done.stderr.count("\n") == 1


def test_config_file_without_recipe_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("src.prepare", "--config=configs/experiments/crops.py") == 2
    assert "has no attribute 'get_config'" in error_line(capsys)


@pytest.mark.parametrize(
    ("command", "flag", "first"),
    [
        ("main", "--help", "--config="),
        ("experiment.__main__", "-h", "--config="),
        ("report.__main__", "--help=true", "--workdir="),
        ("predict", "--h", "--workdir="),
    ],
)
def test_help_shows_command_and_flags(
    command: str, flag: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(f"src.{command}", flag) == 0
    output = capsys.readouterr().out
    assert f"python -m src.{command.removesuffix('.__main__')} {first}" in output
    assert "--workdir:" in output


def test_help_names_the_recipes_and_only_own_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("src.main", "--help") == 0
    captured = capsys.readouterr()
    assert "  alexnet, bvlc_alexnet, " in captured.out
    assert "docs/configuration.md" in captured.out
    assert "flagfile" not in captured.out
    assert captured.err == ""
    assert call("src.experiment.__main__", "--help") == 0
    assert "relu_vs_tanh, schedule" in capsys.readouterr().out


def test_name_of_a_recipe_stands_for_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("src.main", "--config=small:digits", "--config.seed=-1") == 2
    assert error_line(capsys).startswith("config.seed: -1 is not between")
    assert call("src.main", "--config=nothing") == 2
    assert "nothing" in error_line(capsys)


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("experiment", ["--config"]),
        ("report", ["--workdir"]),
        ("retrieve", ["--workdir", "--index"]),
    ],
)
def test_missing_flag_is_named(
    command: str, missing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(f"src.{command}.__main__") == 2
    message = error_line(capsys)
    for flag in missing:
        assert f"Flag {flag} must have a value" in message


def test_default_recipe_logs_that_it_uses_the_small_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("src.main", "--config.dtype=float16") == 2
    assert "taking that of configs/small.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "workdir"),
    [
        ("configs/small.py", "runs/small-digits"),
        ("configs/alexnet.py:imagenette/320px-v2", "runs/alexnet-imagenette-320px-v2"),
        ("configs/small.py:folder:../some/photos/", "runs/small-photos"),
    ],
)
def test_default_workdir_contains_recipe_and_dataset(config: str, workdir: str) -> None:
    main.FLAGS.parse([f"--config={config}"])
    assert main.default_workdir() == workdir


def test_parse_resets_the_flags_of_an_earlier_command_line() -> None:
    main.FLAGS.parse(["--config=configs/small.py", "--config.seed=5", "--workdir=there"])
    assert (main.CONFIG.value.seed, main.WORKDIR.value) == (5, "there")
    main.FLAGS.parse(["--config=configs/small.py"])
    assert (main.CONFIG.value.seed, main.WORKDIR.value) == (0, None)


def test_tilde_in_a_path_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    main.FLAGS.parse(["--config=configs/small.py:folder:~/photos", "--config.init_from=~/runs/one"])
    assert main.CONFIG.value.data.dataset == "folder:/home/me/photos"
    assert main.CONFIG.value.init_from == "/home/me/runs/one"
    predict.FLAGS.parse(["--workdir=~/runs/a,~/runs/b,c~/d", "~/image.jpg", "~image.jpg"])
    assert predict.WORKDIR.value == ["/home/me/runs/a", "/home/me/runs/b", "c~/d"]
    assert predict.FLAGS.arguments == ["/home/me/image.jpg", "~image.jpg"]


@pytest.mark.parametrize(
    "argument", ["--workdir=gs://bucket/run", "--config.init_from=s3://bucket/run"]
)
def test_url_is_rejected_in_one_line(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("src.main", "--config=configs/small.py", argument) == 2
    assert error_line(capsys) == f"{argument}: URLs are not supported; give a local path"


@pytest.mark.parametrize(
    "mistake", ["--config.data.dataset=folder:no/such", "--config.init_from=no/such"]
)
def test_failed_command_leaves_no_run_directory(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "runs/one"
    assert call("src.main", "--config=configs/small.py", mistake, f"--workdir={workdir}") == 2
    assert "no/such" in error_line(capsys)
    assert not workdir.parent.exists()


@pytest.mark.parametrize(
    ("workdir", "reason"), [("file", "Not a directory"), ("file/run", "Not a directory")]
)
def test_workdir_that_cannot_be_written_is_rejected(
    workdir: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert call("src.main", "--config=configs/small.py", f"--workdir={tmp_path / workdir}") == 2
    assert error_line(capsys).endswith(f"{workdir}: {reason}; give another --workdir")


def test_dash_in_a_flag_name_equals_underscore() -> None:
    predict.FLAGS.parse(["--workdir=my-run", "--save-features=a-b.npz", "an-image.jpg"])
    assert predict.SAVE_FEATURES.value == "a-b.npz"
    assert predict.FLAGS.arguments == ["an-image.jpg"]


@pytest.mark.parametrize(
    ("process", "name", "output"),
    [
        ("0", "src.runs.checkpoint", "message\n"),
        ("", "src.runs.checkpoint", "message\n"),
        ("1", "src.runs.checkpoint", ""),
        ("1", "src.distributed.rendezvous", "message\n"),
        ("0", "orbax", ""),
    ],
)
def test_library_log_is_printed_by_the_main_process(
    process: str,
    name: str,
    output: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROCESS_ID", process)
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler()])  # as libraries do
    status = run_command(lambda: logging.getLogger(name).info("message"), CommandFlags(), "", [])
    assert status == 0
    assert capsys.readouterr().err == output


def test_system_error_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        try:
            Path("/dev/full").write_text("more than there is room for")
        except OSError as error:
            error.filename = "/dev/full"
            raise RuntimeError("as Orbax does") from error

    assert run_command(fail, CommandFlags(), "", []) == 1
    assert error_line(capsys) == "/dev/full: No space left on device; free some space"


def test_unexpected_error_prints_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    assert run_command(fail, CommandFlags(), "", []) == 1
    assert "Traceback" in capsys.readouterr().err
