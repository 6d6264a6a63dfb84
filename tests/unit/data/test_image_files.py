import io
import sys
from pathlib import Path

import pytest

from src.data.image_files import find_images, printable
from src.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.jpg", "deep/er/c.png", ".hidden", ".no/d.jpg", "odd[1].jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*arguments: str | Path, **options: str) -> list[str]:
    return [Path(image.name).name for image in find_images([*map(str, arguments)], **options)]


def test_a_folder_stands_for_its_files_however_deep(folder: Path) -> None:
    assert names(folder) == ["a.jpg", "b.jpg", "c.png", "odd[1].jpg"]


def test_files_patterns_and_lists_keep_their_order(folder: Path) -> None:
    (folder / "list.txt").write_text(f"{folder}/deep\n\n{folder}/a.jpg\n\n")
    found = names(folder / "b.jpg", folder / "**/*.png", list_file=str(folder / "list.txt"))
    assert found == ["b.jpg", "c.png", "c.png", "a.jpg"]


def test_a_file_whose_name_looks_like_a_pattern(folder: Path) -> None:
    assert names(folder / "odd[1].jpg") == ["odd[1].jpg"]


def test_a_name_too_long_for_a_file_is_one_that_can_not_be_read() -> None:
    assert names("n" * 5000) == ["n" * 5000]


def test_names_are_shown_in_one_line() -> None:
    assert printable("two\nlines\t\x1b[1m é 猫 \udcff") == r"two\nlines\t\x1b[1m é 猫 \udcff"


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        find_images(["-"])


def test_an_image_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xd8jpeg")))
    assert find_images(["-"]) == [("-", b"\xff\xd8jpeg")]


@pytest.mark.parametrize(
    ("arguments", "list_file", "message"),
    [
        ([], None, "no image is given"),
        ([""], None, "'' is no file"),
        (["{folder}/*.gif"], None, r"no file is like '.*gif'"),
        (["{folder}/empty"], None, "no image is in .*empty"),
        ([], "{folder}/nowhere", "--files_from=.*nowhere: No such file"),
    ],
)
def test_mistakes(folder: Path, arguments: list[str], list_file: str | None, message: str) -> None:
    (folder / "empty").mkdir()
    arguments = [argument.format(folder=folder) for argument in arguments]
    list_file = list_file and list_file.format(folder=folder)
    with pytest.raises(UserError, match=message):
        find_images(arguments, list_file)
