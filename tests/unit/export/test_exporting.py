"""The checksum and the number of parameters in an exported network's metadata."""

import hashlib
import math
import tracemalloc
from pathlib import Path

from src.export.exporting import sha256
from src.models.factory import parameter_counts
from src.models.presets import PAPER
from tests.support import miniature
from tests.support.published import grouped_shapes


def test_checksum_of_a_directory_takes_its_files_in_order_with_little_memory(
    tmp_path: Path,
) -> None:
    (tmp_path / "variables").mkdir()
    for name in ("a", "variables/data", "z"):
        with (tmp_path / name).open("wb") as file:
            file.write(name.encode())
            file.truncate(2**24)
    files = (tmp_path / name for name in ("a", "variables/data", "z"))
    expected = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    tracemalloc.start()
    try:
        assert sha256(tmp_path) == expected
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23  # half a file
    assert sha256(tmp_path / "a") == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()


def test_parameter_counts_exclude_padded_outputs() -> None:
    architecture = miniature.shrunk(PAPER)
    layers = grouped_shapes(architecture, miniature.NUM_CLASSES)
    assert parameter_counts(architecture, miniature.NUM_CLASSES) == {
        name: math.prod(shape) + shape[0] for name, shape in layers.items()
    }
