"""Evaluation and prediction with a trained network, as commands and from Python."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.dataset import PreparedDataset
from src.data.loader import eval_batches
from src.data.preparation import prepare_dataset
from src.data.sources import find_source
from src.errors import UserError
from src.inference import classifier as classifier_module
from src.inference.classifier import MAX_BATCH, Classifier, load
from tests.support import tiny
from tests.support.commands import ROOT, call, environment, run
from tests.support.runs import untrained


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def workdir(digits_run: Path) -> Path:
    return digits_run


@pytest.fixture(scope="module")
def other(root: Path, cache: Path) -> Path:
    """A run that has only its initial weights, for ensembles."""
    config = tiny.get_config()
    config.seed = 1
    config.data.root = str(cache / "prepared")
    return untrained(config, root / "other")


@pytest.fixture(scope="module")
def classifier(workdir: Path) -> Classifier:
    return load(workdir)


@pytest.fixture(scope="module")
def data(cache: Path) -> PreparedDataset:
    fields = tiny.get_config().data
    fields.root = str(cache / "prepared")
    return prepare_dataset(fields)


@pytest.fixture(scope="module")
def examples(data: PreparedDataset) -> tuple[np.ndarray, np.ndarray]:
    """All of the evaluation split: images and labels."""
    (batch,) = eval_batches(data, "test", slice(None), global_batch=360)
    return batch["image"], batch["label"]


@pytest.fixture(scope="module")
def digit_files(root: Path) -> list[Path]:
    """The evaluation split's first originals, as files."""
    folder = root / "files"
    folder.mkdir()
    split = find_source(tiny.get_config().data).load().evaluation
    files = []
    for example, index in zip(split.examples(), range(5), strict=False):
        files.append(folder / f"{index}.png")
        Image.fromarray(np.asarray(example.image)).save(files[-1])
    return files


def test_prediction_agrees_with_the_runs_own_evaluation(
    workdir: Path, classifier: Classifier, examples: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = examples
    probabilities = classifier(images)
    result = json.loads((workdir / "result.json").read_text())
    order = np.argsort(-probabilities, axis=1, kind="stable")
    assert (order[:, 0] != labels).mean() == pytest.approx(result["top1_error"])
    assert (order[:, :5] != labels[:, None]).all(axis=1).mean() == pytest.approx(
        result["top5_error"]
    )
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(result["loss"], rel=1e-5)


def test_probabilities_sum_to_one_for_any_number_of_images(
    classifier: Classifier, examples: tuple[np.ndarray, np.ndarray]
) -> None:
    images, _ = examples
    probabilities = classifier(images[:70])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(classifier(images[66:67])[0], probabilities[66], rtol=1e-5)
    assert classifier.class_names == [str(digit) for digit in range(10)]


def test_features_of_a_layer(
    classifier: Classifier, examples: tuple[np.ndarray, np.ndarray]
) -> None:
    images = examples[0][:3]
    assert classifier.features(images).shape == (3, tiny.UNITS["fc7"])
    assert classifier.features(images, layer="conv5").shape == (3, 1, 1, tiny.MAPS["conv5"])
    with pytest.raises(UserError, match=r"layer: 'fc9' is not allowed; choose one of conv1, .*fc8"):
        classifier.features(images, layer="fc9")


def test_file_and_its_prepared_record_have_equal_probabilities(
    workdir: Path,
    root: Path,
    classifier: Classifier,
    examples: tuple[np.ndarray, np.ndarray],
    digit_files: list[Path],
) -> None:
    expected = classifier(examples[0][:5])
    originals = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in digit_files])
    np.testing.assert_array_equal(classifier(originals), expected)

    done = run("src.predict", f"--workdir={workdir}", "--json", root / "files", cache=root)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == [file.name for file in digit_files]
    for line, probabilities in zip(lines, expected, strict=True):
        assert len(line["predictions"]) == 5
        for prediction in line["predictions"]:
            index = classifier.class_names.index(prediction["class"])
            assert prediction["probability"] == pytest.approx(float(probabilities[index]), rel=1e-4)


def test_unreadable_file_does_not_stop_the_others(
    workdir: Path, root: Path, digit_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = root / "notes.txt"
    text.write_text("not an image")
    paths = (digit_files[0], text, root / "missing.jpg", digit_files[1])
    assert call("src.predict", f"--workdir={workdir}", "--views=10", *paths) == 1
    printed = capsys.readouterr()
    errors = printed.err.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith(f"error: {text}: ")
    assert errors[1].startswith(f"error: {root / 'missing.jpg'}: ")
    assert printed.out.count("%") == 10
    assert str(digit_files[1]) in printed.out


def test_files_are_predicted_in_order_for_any_batch_size(
    classifier: Classifier,
    root: Path,
    examples: tuple[np.ndarray, np.ndarray],
    digit_files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "max_batch", 8)
    files = [*digit_files, root / "missing.png"] * 4
    answers = list(classifier.predict_files(files))
    assert [answer.file for answer in answers] == files
    assert [answer.error for answer in answers if answer.error] == ["No such file or directory"] * 4
    probabilities = np.stack([a.output for a in answers if a.output is not None])
    np.testing.assert_allclose(
        probabilities, np.tile(classifier(examples[0][:5]), (4, 1)), rtol=1e-5, atol=1e-9
    )
    for file in (digit_files[0], str(digit_files[0])):
        (answer,) = classifier.predict_files(file)
        np.testing.assert_allclose(answer.output, probabilities[0], rtol=1e-5, atol=1e-9)
    features = [answer.output for answer in classifier.file_features(digit_files, "conv5")]
    np.testing.assert_allclose(
        features, classifier.features(examples[0][:5], "conv5"), rtol=1e-5, atol=1e-6
    )


def test_files_are_read_at_most_two_batches_ahead(
    classifier: Classifier, digit_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "max_batch", 8)
    requested = []
    endless = (requested.append(i) or digit_files[0] for i in itertools.count())
    answers = classifier.predict_files(endless)
    next(answers)
    # Two batches are read when the first is answered; each reading keeps a batch less one ahead.
    assert len(requested) == 8 + 8 + 7
    answers.close()


def test_batch_size_fits_in_free_memory(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = classifier.max_batch // MAX_BATCH
    assert classifier.max_batch == MAX_BATCH * shards
    monkeypatch.setattr(classifier_module, "_bytes_per_image", lambda *_: 1 << 50)
    del classifier.max_batch
    assert classifier.max_batch == shards
    del classifier.max_batch


def test_features_are_saved_with_the_files_names(
    workdir: Path,
    root: Path,
    classifier: Classifier,
    examples: tuple[np.ndarray, np.ndarray],
    digit_files: list[Path],
) -> None:
    target = root / "features.npz"
    pattern = root / "files" / "[0-9].png"
    assert call("src.predict", f"--workdir={workdir}", "--save-features", target, pattern) == 0
    with np.load(target) as saved:
        assert saved["files"].tolist() == [str(file) for file in digit_files]
        expected = classifier.features(examples[0][:5])
        np.testing.assert_allclose(saved["features"], expected, rtol=1e-4, atol=1e-6)


def test_ensemble_predicts_an_image_from_standard_input(
    workdir: Path,
    other: Path,
    root: Path,
    classifier: Classifier,
    examples: tuple[np.ndarray, np.ndarray],
    digit_files: list[Path],
) -> None:
    command = [sys.executable, "-m", "src.predict", f"--workdir={workdir},{other}", "--json", "-"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(root),
        input=digit_files[0].read_bytes(),
        capture_output=True,
        check=True,
    )
    image = examples[0][:1]
    (mean,) = (classifier(image) + load(other)(image)) / 2
    predictions = json.loads(done.stdout)["predictions"]
    assert [p["probability"] for p in predictions] == pytest.approx(np.sort(mean)[:-6:-1], rel=1e-4)


def test_evaluation_repeats_the_result_on_another_mesh(workdir: Path, root: Path) -> None:
    result = json.loads((workdir / "result.json").read_text())
    done = run("src.evaluate", f"--workdir={workdir}", "--cpu_devices=2", cache=root)
    assert done.returncode == 0, done.stderr
    assert f"top-1 error {result['top1_error']:.2%}" in done.stdout
    assert "(360 images, 1 view)" in done.stdout


def test_an_ensemble_averages_probabilities(
    workdir: Path,
    other: Path,
    classifier: Classifier,
    examples: tuple[np.ndarray, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, labels = examples
    mean = (classifier(images) + load(other)(images)) / 2
    error = (np.argsort(-mean, axis=1, kind="stable")[:, 0] != labels).mean()
    assert call("src.evaluate", f"--workdir={workdir},{other}") == 0
    assert f"top-1 error {error:.2%}" in capsys.readouterr().out
    alone = json.loads((workdir / "result.json").read_text())["top1_error"]
    assert f"{alone:.2%}" != f"{error:.2%}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir="], "--workdir=[]: name a run directory"),
        (["--views=5"], "--views=5: choose one of 1, 9, 10"),
        (["--layer=fc6"], "--layer: only with --save_features"),
        (["--save_features=f.npz", "--json"], "--json: only without --save_features"),
        (["--save_features=f.txt"], "--save_features=f.txt: name it .npz"),
        (["--save_features=/nowhere/f.npz"], "/nowhere/f.npz: No such file or directory"),
    ],
)
def test_invalid_flags_are_refused_before_computing(
    arguments: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("src.predict", f"--workdir={workdir}", *arguments, "image.jpg") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["src.evaluate", "src.predict"])
def test_directory_without_a_run_is_refused(
    command: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, f"--workdir={root / 'nowhere'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere" in line or "no image is given" in line
