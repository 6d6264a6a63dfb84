"""The package as others import it."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import src
from src.errors import EXTRAS, UserError, check_extra

HEAVY = ("torch", "tensorboardX", "tensorflow", "tensorflow_datasets", "sklearn", "src", "configs")


def test_it_is_importable_anywhere_and_imports_nothing_heavy(tmp_path: Path) -> None:
    program = f"""
import sys
from alexnet.models.alexnet import AlexNet
from alexnet.predict import load
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_commands_alone_are_at_the_top() -> None:
    top = {path.name for path in Path(src.__file__).parent.glob("*.py")}
    commands = {"main.py", "prepare.py", "evaluate.py", "predict.py"}
    assert top == {*commands, "__init__.py", "errors.py", "filesystem.py"}


def test_only_the_mesh_and_its_neighbors_ask_which_devices_there_are() -> None:
    questions = ("jax.devices(", "jax.device_count(", "jax.local_devices(", "local_device_count(")
    root = Path(src.__file__).parent
    asking = {
        path.relative_to(root).parts[0]
        for path in root.rglob("*.py")
        if any(question in path.read_text() for question in questions)
    }
    assert asking == {"distributed"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_missing_package_of_an_extra_is_named_with_the_way_to_install_it(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = EXTRAS[extra]
    project = tomllib.loads((Path(src.__file__).parents[1] / "pyproject.toml").read_text())[
        "project"
    ]
    declared = {re.split("[<>=;]", entry)[0] for entry in project["optional-dependencies"][extra]}
    assert set(needed) <= declared

    def version(name: str) -> str:
        if name == needed[-1]:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    message = f"{needed[-1]} is not installed; run pip install -e '.[{extra}]'"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check_extra(extra)
