"""Where the weights of a run come from."""

from pathlib import Path

from src.runs.provenance import read_origin, read_provenance, write_origin, write_provenance


def test_run_after_an_import_that_failed_has_weights_of_its_own(tmp_path: Path) -> None:
    write_provenance(tmp_path, {"kind": "Caffe", "file": "net.caffemodel", "sha256": "0"})
    write_origin(tmp_path, "")
    assert read_provenance(tmp_path) is None
    assert read_origin(tmp_path) is None
