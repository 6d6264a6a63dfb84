"""Atomic files and directories, and the walk over a directory's files."""

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from src.errors import UserError
from src.filesystem import build_once, walk_files, write_json


def names(directory: Path) -> list[str]:
    return [os.path.relpath(file, directory) for file in walk_files(directory)]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_walk_files_lists_own_files_before_subdirectories(tmp_path: Path) -> None:
    touch(tmp_path / "b/2.png", tmp_path / "b/1.png", tmp_path / "a/3.png", tmp_path / "z.png")
    assert names(tmp_path) == ["z.png", "a/3.png", "b/1.png", "b/2.png"]


def test_walk_files_skips_hidden_files_and_pipes_but_keeps_dangling_links(tmp_path: Path) -> None:
    touch(tmp_path / ".hidden.png", tmp_path / ".thumbnails/1.png", tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(tmp_path) == ["1.png", "gone.png"]


def test_walk_files_visits_a_linked_directory_once(tmp_path: Path) -> None:
    touch(tmp_path / "root/cat/1.png", tmp_path / "elsewhere/2.png")
    (tmp_path / "root/cat/again").symlink_to(tmp_path / "root")
    (tmp_path / "root/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/wolf").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "root") == ["cat/1.png", "dog/2.png"]


def test_walk_files_prefers_real_paths_to_links(tmp_path: Path) -> None:
    touch(tmp_path / "z/deep/1.png")
    (tmp_path / "a").symlink_to(tmp_path / "z/deep")
    (tmp_path / "b").symlink_to(tmp_path.parent)
    assert names(tmp_path) == ["z/deep/1.png"]


def test_build_once_keeps_the_directory_that_has_the_name_already(tmp_path: Path) -> None:
    touch(tmp_path / "built-1/first")

    def fill(directory: Path) -> Path:
        (directory / "second").touch()
        return tmp_path / "built-1"

    assert build_once(tmp_path / "built", fill, find=lambda: None) == tmp_path / "built-1"
    assert [path.name for path in (tmp_path / "built-1").iterdir()] == ["first"]
    assert not list(tmp_path.glob("*incomplete*"))


def test_build_once_fills_the_directory_once_and_removes_it_on_failure(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "partial").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "built", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".built.lock"]
    build_once(tmp_path / "built", lambda directory: (directory / "complete").touch())
    build_once(tmp_path / "built", fail)  # it exists
    assert (tmp_path / "built/complete").exists()


@pytest.mark.parametrize("parent", ["file", "file/below"])
def test_build_once_in_a_file_is_an_error(tmp_path: Path, parent: str) -> None:
    touch(tmp_path / "file")
    with pytest.raises(UserError, match=f"^{tmp_path}/{parent}: is a file, or below one"):
        build_once(tmp_path / parent / "built", fill)


def fill(directory: Path) -> None:
    (directory / "complete").touch()


def test_build_once_removes_only_what_this_host_has_left(tmp_path: Path) -> None:
    ours = tmp_path / f"built.incomplete-{socket.gethostname()}-1234"
    theirs = tmp_path / "built.incomplete-elsewhere-1234"
    touch(ours / "partial", theirs / "partial")
    build_once(tmp_path / "built", fill)
    assert not ours.exists()
    assert (theirs / "partial").exists()


def test_build_once_removes_nothing_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    other = tmp_path / f"built.incomplete-{socket.gethostname()}-1234"
    touch(other / "partial")
    assert (build_once(tmp_path / "built", fill) / "complete").exists()
    assert (other / "partial").exists()


def test_write_json_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        write_json(path, {"step": object()})
    assert path.read_text() == '{\n  "step": 1\n}\n'
