"""Files and directories that are complete or absent, and the walk over image folders."""

import os
from pathlib import Path

import pytest

from src.filesystem import build_once, walk_files, write_json


def names(directory: Path) -> list[str]:
    return [str(file.relative_to(directory)) for file in walk_files(directory)]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_come_before_those_of_subdirectories_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "b/2.png", tmp_path / "b/1.png", tmp_path / "a/3.png", tmp_path / "z.png")
    assert names(tmp_path) == ["z.png", "a/3.png", "b/1.png", "b/2.png"]


def test_hidden_files_and_pipes_are_left_out_and_dangling_links_are_not(tmp_path: Path) -> None:
    touch(tmp_path / ".hidden.png", tmp_path / ".thumbnails/1.png", tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(tmp_path) == ["1.png", "gone.png"]


def test_linked_directories_count_once_and_cannot_form_a_loop(tmp_path: Path) -> None:
    touch(tmp_path / "root/cat/1.png", tmp_path / "elsewhere/2.png")
    (tmp_path / "root/cat/again").symlink_to(tmp_path / "root")
    (tmp_path / "root/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/wolf").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "root") == ["cat/1.png", "dog/2.png"]


def test_a_directory_is_built_once_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "made", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".made.lock"]
    build_once(tmp_path / "made", lambda directory: (directory / "whole").touch())
    build_once(tmp_path / "made", fail)  # it exists
    assert (tmp_path / "made/whole").exists()


def test_a_file_that_cannot_be_written_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        write_json(path, {"step": object()})
    assert path.read_text() == '{\n  "step": 1\n}\n'
