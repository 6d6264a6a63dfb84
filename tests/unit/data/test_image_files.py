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


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg", "odd[1].jpg"]),
        ("**/*.jpg", ["a.jpg", "b.jpg", "odd[1].jpg"]),
        ("**/*.[jp][pn]g", ["a.jpg", "b.jpg", "deep/er/c.png", "odd[1].jpg"]),
        ("deep/**", ["deep/er/c.png"]),  # and no directory
        ("**/*[prn]*/**", ["deep/er/c.png"]),
        ("d??p/**/c.png", ["deep/er/c.png"]),
        ("*/**/er/**/*.png", ["deep/er/c.png"]),
        ("*/**/**/*er*/*", ["deep/er/c.png"]),
        ("./**/c.png", ["./deep/er/c.png"]),
        ("deep/../**/*.png", ["deep/../deep/er/c.png"]),
        ("{directory}/**/c*", ["{directory}/deep/er/c.png"]),
        (".no/**/*.jpg", [".no/d.jpg"]),
        ("**/odd[[]1].jpg", ["odd[1].jpg"]),
    ],
)
def test_pattern_stands_for_the_files_that_it_matches(
    directory: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    monkeypatch.chdir(directory)
    images = find_images([pattern.format(directory=directory), "a.jpg"])
    *names, _ = [image.name for image in images]
    assert names == [name.format(directory=directory) for name in expected]
    assert [image.original for image in images[:-1]] == [Path(name) for name in names]


@pytest.mark.parametrize("links", [1, 2])
def test_links_multiply_no_image_that_a_pattern_matches(directory: Path, links: int) -> None:
    for link in range(links):
        (directory / f"deep/link{link}").symlink_to(directory)
    assert names(directory / "**/*.jpg") == ["a.jpg", "b.jpg", "odd[1].jpg"]
    assert names(directory / "*/**/*.png") == ["c.png"]


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
        (["{directory}/nowhere/**/*.jpg"], None, r"no file matches '.*nowhere/\*\*/\*\.jpg'"),
        (["{directory}/a.jpg/**"], None, "no file matches"),
        (["{directory}/**/er"], None, "no file matches"),
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
