"""The notebook runs from its first cell to its last, and shows what it showed before.

After a change to its cells: jupyter execute --inplace docs/two_towers.ipynb
"""

import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.commands import ROOT

NOTEBOOK = ROOT / "docs/two_towers.ipynb"
KILOBYTES = 200  # small enough for a repository

pytestmark = pytest.mark.slow


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: nbformat.NotebookNode) -> str:
    """The text that a cell printed or returned."""
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    )


@pytest.fixture(scope="module")
def kept() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed() -> nbformat.NotebookNode:
    """The same notebook, executed again; a cell that raises ends this with its traceback."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources, coalesce_streams=True
    ).execute()


def test_it_shows_the_same_again(
    kept: nbformat.NotebookNode, executed: nbformat.NotebookNode
) -> None:
    pairs = zip(code_cells(kept), code_cells(executed), strict=True)
    # Times and errors vary; shapes, meshes and bytes do not.
    same = [pair for pair in pairs if "same" in pair[0].metadata.get("tags", ())]
    assert len(same) >= 10
    for before, again in same:
        assert shown(again) == shown(before)


def test_nothing_went_to_stderr(executed: nbformat.NotebookNode) -> None:
    streams = [
        output for cell in code_cells(executed) for output in cell.outputs if "name" in output
    ]
    assert {output.name for output in streams} == {"stdout"}


def test_every_figure_is_drawn(executed: nbformat.NotebookNode) -> None:
    pictures = [cell for cell in code_cells(executed) if "plt.show()" in cell.source]
    assert len(pictures) == 4
    for cell in pictures:
        assert "image/png" in cell.outputs[-1].data


def test_it_is_kept_as_executed_from_first_to_last(kept: nbformat.NotebookNode) -> None:
    counts = [cell.execution_count for cell in code_cells(kept)]
    assert counts == list(range(1, len(counts) + 1))


def test_it_is_small_and_names_no_machine(kept: nbformat.NotebookNode) -> None:
    assert NOTEBOOK.stat().st_size < KILOBYTES * 1000
    text = "".join(map(shown, code_cells(kept)))
    for found in (str(ROOT), str(Path.home()), tempfile.gettempdir(), "Warning", "WARNING"):
        assert found not in text
