import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from src import evaluate as command
from src.cli.app import run_command
from src.data.loader import Batch
from src.errors import UserError
from src.inference import evaluation
from src.inference.classifier import load
from src.inference.ensemble import evaluate_ensemble
from src.inference.evaluation import (
    Member,
    class_table,
    describe_classes,
    describe_result,
    evaluate,
)
from src.runs.config import read_config
from src.runs.results import EVALUATIONS, result_at, write_evaluation
from tests.support import miniature, tiny
from tests.support.commands import run
from tests.support.runs import untrained

BATCHES, GLOBAL_BATCH, CLASSES = 8, 2, 3


def slowly(params: None, images: jax.Array, statistics: None) -> jax.Array:
    """Log-probabilities, after some tens of milliseconds."""
    zero = jax.lax.fori_loop(0, 100, lambda _, x: x @ x, jnp.zeros((400, 400)))[0, 0]
    return jax.nn.log_softmax(images[:, 0, 0] + zero)


def test_batches_do_not_pile_up_before_a_slow_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that wait, each takes one of the few threads that the CPU's devices share."""
    started: list[dict[str, jax.Array]] = []
    make = evaluation._make_add

    def watched(classifiers: tuple) -> Callable[..., Any]:
        add = make(classifiers)

        def watched_add(*arguments: Any) -> dict[str, jax.Array]:
            started.append(add(*arguments))
            return started[-1]

        return watched_add

    def batches() -> Iterator[Batch]:
        for _ in range(BATCHES):
            assert sum(not totals["loss"].is_ready() for totals in started) <= 1
            yield {
                "image": np.eye(CLASSES, dtype=np.uint8)[None, None].repeat(GLOBAL_BATCH, 0),
                "label": np.zeros(GLOBAL_BATCH, np.int32),
                "mask": np.ones(GLOBAL_BATCH, np.float32),
            }

    monkeypatch.setattr(evaluation, "_make_add", watched)
    result = evaluate([Member(slowly, None, None, batches)], miniature.mesh(1, 1), GLOBAL_BATCH)
    assert result is not None
    assert result["examples"] == BATCHES * GLOBAL_BATCH


@pytest.fixture
def workdir(cache: Path, tmp_path: Path) -> Path:
    config = tiny.get_config()
    config.data.root = str(cache / "prepared")
    return untrained(config, tmp_path / "run")


def test_result_of_the_command_is_kept_in_the_run_directory(workdir: Path, cache: Path) -> None:
    done = run("src.evaluate", f"--workdir={workdir}", "--views=10", cache=cache)
    assert done.returncode == 0, done.stderr
    kept = result_at(workdir, 0, 10)
    assert kept is not None
    assert (kept["step"], kept["views"], kept["split"], kept["examples"]) == (0, 10, "test", 360)
    wrong = [row["examples"] * row["top1_error"] for row in kept["classes"]]
    assert [row["class"] for row in kept["classes"]] == [str(digit) for digit in range(10)]
    assert sum(wrong) == pytest.approx(360 * kept["top1_error"])
    assert done.stdout == f"test: {describe_result(kept)}\n"


def test_before_batch_is_called_for_each_batch(workdir: Path) -> None:
    calls: list[None] = []
    evaluate_ensemble([workdir], before_batch=lambda: calls.append(None))
    assert len(calls) == -(-360 // read_config(workdir).batch_size)


def test_run_directory_that_cannot_be_written_is_evaluated(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / EVALUATIONS).touch()
    assert evaluate_run(workdir) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("test: top-1 error")
    assert "the result is not kept there: File exists" in printed.err


def test_run_that_has_lost_its_checkpoints_is_refused_and_keeps_its_evaluations(
    workdir: Path,
) -> None:
    write_evaluation(workdir, {"step": 0, "views": 1})
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(UserError, match=r"evaluations but no checkpoints; restore them, or move"):
        untrained(read_config(workdir), workdir)
    assert result_at(workdir, 0, 1) is not None


SPLITS = {"train": 3, "val": 2, "test": 4}  # images of each class
NAMES = ("cat", "dog", "owl")


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of images with three splits."""
    seeds = iter(range(100))
    for split, count in SPLITS.items():
        for name in NAMES:
            for index in range(count):
                write_image(tmp_path / "photos" / split / name / f"{index}.png", next(seeds))
    return tmp_path / "photos"


@pytest.fixture
def folder_run(folder: Path, tmp_path: Path) -> Path:
    """A run on the training and validation images of `folder`."""
    config = tiny.get_config(f"folder:{folder}")
    config.data.root = str(tmp_path / "prepared")
    return untrained(config, tmp_path / "run")


def evaluate_run(workdir: Path, *arguments: str) -> int:
    argv = [f"--workdir={workdir}", "--views=1", *arguments]
    return run_command(command.main, command.FLAGS, command.__doc__, argv)


def evaluations(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (workdir / EVALUATIONS).rglob("*.json")]


def test_split_option_evaluates_that_split_and_keeps_both_results(
    folder_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run(folder_run) == 0
    assert evaluate_run(folder_run, "--split=test") == 0
    own, other = capsys.readouterr().out.splitlines()
    assert (own[:5], other[:6]) == ("val: ", "test: ")
    results = {result["split"]: result for result in evaluations(folder_run)}
    assert {split: result["examples"] for split, result in results.items()} == {
        "val": 6,
        "test": 12,
    }
    kept = result_at(folder_run, 0, 1)
    assert kept is not None
    assert kept["split"] == "val"


def test_unknown_split_is_an_error(folder_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_run(folder_run, "--split=tset") == 2
    assert "eval_split: 'tset' is not allowed; choose one of val, test" in capsys.readouterr().err


def test_data_option_evaluates_other_images_of_the_same_classes(
    folder: Path, folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    write_image(other / "val" / "owl" / "new.png", 1000)
    assert evaluate_run(folder_run, f"--data=folder:{other}", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["dataset"], result["examples"]) == (f"folder:{other}", 7)
    assert result_at(folder_run, 0, 1) is None
    assert [kept["examples"] for kept in evaluations(folder_run)] == [7]


def test_data_of_other_classes_is_an_error_before_preparing(
    folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run(folder_run, "--data=digits") == 2
    assert "its 3 classes are not the 10 of the images: only one has" in capsys.readouterr().err
    assert not evaluations(folder_run)
    assert not list((tmp_path / "prepared").glob("digits*"))  # found before preparing


def test_new_image_in_the_evaluation_split_is_evaluated(
    folder: Path, folder_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run(folder_run) == 0
    write_image(folder / "val" / "dog" / "new.png", 1000)
    assert evaluate_run(folder_run) == 0
    printed = capsys.readouterr()
    assert "(7 images, 1 view)" in printed.out.splitlines()[1]
    assert "its images have changed since training" in printed.err
    kept = result_at(folder_run, 0, 1)
    assert kept is not None
    assert kept["examples"] == 6
    assert sorted(result["examples"] for result in evaluations(folder_run)) == [6, 7]


def test_table_and_json_have_the_confusions_of_each_class(
    folder: Path, folder_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run(folder_run, "--json", "--split=test") == 0
    result = json.loads(capsys.readouterr().out)
    assert evaluate_run(folder_run, "--per_class", "--split=test") == 0
    line, header, *rows = capsys.readouterr().out.splitlines()
    assert line == f"test: {describe_result(result)}"
    assert header.split() == ["class", "images", "error", *NAMES]

    classifier = load(folder_run)
    assert [entry["class"] for entry in result["classes"]] == list(NAMES)
    for name, entry, row in zip(NAMES, result["classes"], rows, strict=True):
        files = [folder / "test" / name / f"{index}.png" for index in range(4)]
        outputs = [answer.output for answer in classifier.predict_files(files, views=1)]
        predicted = np.bincount(np.argmax(outputs, axis=1), minlength=3).tolist()
        error = 1 - predicted[NAMES.index(name)] / 4
        assert entry == {"class": name, "examples": 4, "top1_error": error, "predicted": predicted}
        assert row.split() == [name, "4", f"{error:.2%}", *map(str, predicted)]
    mean = np.mean([entry["top1_error"] for entry in result["classes"]])
    assert result["top1_error"] == pytest.approx(mean)


def test_class_without_images_has_no_error() -> None:
    classes = describe_classes(np.array([[1, 3], [0, 0]]), ["a\tb", "c"])
    assert [entry["top1_error"] for entry in classes] == [0.75, None]
    assert class_table(classes).splitlines()[1:] == [
        "a\\tb        4  75.00%     1  3",
        "c           0       -     0  0",
    ]


def test_counting_classes_changes_no_number(workdir: Path) -> None:
    plain, counted = (evaluate_ensemble([workdir], counts_classes=c) for c in (False, True))
    confusion = counted.pop("confusion")
    assert plain.pop("confusion") is None
    assert plain == counted
    assert confusion.sum() == plain["examples"]
    assert 1 - confusion.trace() / 360 == pytest.approx(plain["top1_error"])
