"""Runs whose images were moved, removed or changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from src import evaluate as command
from src.cli.app import run_command
from src.data.preparation import prepare_dataset
from src.distributed.environment import process_info
from src.distributed.process_group import ProcessGroup
from src.errors import UserError
from src.inference.classifier import load
from src.inference.ensemble import evaluate_ensemble
from src.report.run import Run
from src.retrieve.index import open_index
from src.runs.config import read_config, write_config
from src.runs.preprocessing import read_preprocessing
from src.runs.workdir import check_workdir, open_dataset, open_workdir, training_data
from tests.support import tiny
from tests.support.runs import untrained


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with images and a run on them."""
    place, seeds = tmp_path_factory.mktemp("begun"), iter(range(100))
    for split, count in {"train": 3, "val": 2}.items():
        for name in ("cat", "dog"):
            for index in range(count):
                write_image(place / f"photos/{split}/{name}/{index}.png", next(seeds))
    config = tiny.get_config(f"folder:{place}/photos")
    config.data.root = str(place / "prepared")
    config.views = 1
    untrained(config, place / "run")
    return place


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    return shutil.copytree(begun / "photos", tmp_path / "photos")


@pytest.fixture
def workdir(begun: Path, folder: Path, tmp_path: Path) -> Path:
    """The run as if it had been trained on the images in `folder`."""
    workdir = shutil.copytree(begun / "run", tmp_path / "run")
    config = read_config(workdir)
    config.data.dataset, config.data.root = f"folder:{folder}", str(tmp_path / "prepared")
    write_config(workdir, config)
    prepare_dataset(config.data)
    return workdir


def resume(config: ConfigDict, workdir: Path) -> None:
    check_workdir(workdir, config)
    with open_workdir(
        workdir,
        config,
        training_data(workdir, config.data),
        ProcessGroup(process_info({}), config.processes),
    ):
        pass


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def add_a_photo(folder: Path) -> None:
    write_image(folder / "val/dog/new.png", 1000)


@pytest.mark.parametrize("change", [remove, add_a_photo])
def test_report_and_retrieval_use_the_prepared_images(
    change: Callable[[Path], None], folder: Path, workdir: Path
) -> None:
    change(folder)
    data = Run(workdir).data
    assert data.num_examples == {"train": 6, "val": 4}
    index = open_index(workdir, load(workdir), "val", "fc7")
    assert [entry["file"] for entry in index.entries] == [
        data.records("val").file(i) for i in range(4)
    ]


def test_run_without_its_original_images_is_evaluated_and_resumed(
    folder: Path, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = evaluate_ensemble([workdir])
    add_a_photo(folder)
    prepare_dataset(read_config(workdir).data)
    shutil.rmtree(folder)
    result = evaluate_ensemble([workdir])
    assert result == expected
    assert result["images"] is None
    assert "its images are missing; using the prepared" in caplog.text
    resume(read_config(workdir), workdir)


def test_run_resumes_with_its_images_at_another_path(folder: Path, workdir: Path) -> None:
    config = read_config(workdir)
    before = read_preprocessing(workdir).dataset
    config.data.dataset = f"folder:{folder.rename(folder.with_name('moved'))}"
    config.data.root += "-again"  # so that nothing is shared
    resume(config, workdir)
    assert read_config(workdir).data.dataset == config.data.dataset
    assert read_preprocessing(workdir).dataset == before.replace("photos", "moved")
    assert read_preprocessing(workdir).in_train == 0
    assert evaluate_ensemble([workdir])["images"] is None


def test_run_does_not_resume_with_other_images(folder: Path, workdir: Path) -> None:
    config = read_config(workdir)
    other = shutil.copytree(folder, folder.with_name("other"))
    add_a_photo(other)
    config.data.dataset = f"folder:{other}"
    with pytest.raises(UserError, match=r"trained on photos-\S+, but the data set is now other-"):
        resume(config, workdir)
    config.data.dataset = "digits"
    with pytest.raises(UserError, match=r"config\.data\.dataset was 'folder:.*' and is 'digits'"):
        resume(config, workdir)


def test_images_that_are_neither_prepared_nor_as_before_are_an_error(
    folder: Path, workdir: Path
) -> None:
    section = read_config(workdir).data
    shutil.rmtree(section.root)
    assert open_dataset(workdir, section).num_examples == {"train": 6, "val": 4}
    shutil.rmtree(section.root)
    add_a_photo(folder)
    with pytest.raises(UserError, match="but the data set is now photos-"):
        open_dataset(workdir, section)


def evaluate_run(workdir: Path, *arguments: str) -> int:
    argv = [f"--workdir={workdir}", "--views=1", *arguments]
    return run_command(command.main, command.FLAGS, command.__doc__, argv)


def test_other_images_need_only_the_split_that_is_evaluated(
    folder: Path, workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder / "val", other / "test")
    shutil.copy(folder / "train/cat/0.png", other / "test/cat/trained.png")
    assert evaluate_run(workdir, f"--data=folder:{other}") == 0
    shutil.rmtree(other)
    assert evaluate_run(workdir, f"--data=folder:{other}") == 0
    printed = capsys.readouterr()
    assert printed.out.count("(5 images, 1 view)") == 2
    assert printed.err.count("it was trained on 1 of these images") == 2
    assert "its images are missing; using the prepared" in printed.err
