"""The arguments that stand for image files."""

import io
import sys
from pathlib import Path

import pytest

from src.data.image_files import find_images, printable
from src.errors import UserError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.jpg", "deep/er/c.png", ".hidden", ".no/d.jpg", "odd[1].jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*arguments: str | Path, **options: str) -> list[str]:
    return [Path(image.name).name for image in find_images([*map(str, arguments)], **options)]


def test_directory_stands_for_all_files_below_it(directory: Path) -> None:
    assert names(directory) == ["a.jpg", "b.jpg", "c.png", "odd[1].jpg"]


def test_files_patterns_and_lists_keep_their_order(directory: Path) -> None:
    (directory / "list.txt").write_text(f"{directory}/deep\n\n{directory}/a.jpg\n\n")
    listed = names(
        directory / "b.jpg", directory / "**/*.png", list_file=str(directory / "list.txt")
    )
    assert listed == ["b.jpg", "c.png", "c.png", "a.jpg"]


def test_existing_file_is_not_a_pattern(directory: Path) -> None:
    assert names(directory / "odd[1].jpg") == ["odd[1].jpg"]


def test_missing_files_are_kept_beside_one_that_exists(tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    assert names("n" * 5000, tmp_path / "image.png") == ["n" * 5000, "image.png"]
    with pytest.raises(UserError, match=r"'nothere\.jpg' does not exist"):
        find_images(["nothere.jpg", "n" * 5000])


def test_printable_escapes_control_characters() -> None:
    assert printable("two\nlines\t\x1b[1m é 猫 \udcff") == r"two\nlines\t\x1b[1m é 猫 \udcff"


def test_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        find_images(["-"])


def test_image_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xd8jpeg")))
    assert find_images(["-"]) == [("-", b"\xff\xd8jpeg")]


@pytest.mark.parametrize(
    ("arguments", "list_file", "message"),
    [
        ([], None, "no image is given"),
        ([""], None, "'' is not a file"),
        (["{directory}/*.gif"], None, r"no file matches '.*gif'"),
        (["{directory}/empty"], None, "no image is in .*empty"),
        ([], "{directory}/nowhere", "--files_from=.*nowhere: No such file"),
    ],
)
def test_invalid_arguments_are_errors(
    directory: Path, arguments: list[str], list_file: str | None, message: str
) -> None:
    (directory / "empty").mkdir()
    arguments = [argument.format(directory=directory) for argument in arguments]
    list_file = list_file and list_file.format(directory=directory)
    with pytest.raises(UserError, match=message):
        find_images(arguments, list_file)
