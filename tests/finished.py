"""Folders of runs as training leaves them, with numbers of the test's."""

import json
from pathlib import Path


def write_run(folder: Path, training_errors: list[float], test_error: float, day: str = "") -> Path:
    """A finished run of an epoch a line."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"step": 10 * i, "epoch": float(i), "split": "train", "top1_error": error, "loss": 1.0}
        for i, error in enumerate(training_errors, 1)
    ]
    lines.append({**lines[-1], "split": "test", "top1_error": test_error})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"top1_error": test_error, "epochs": float(len(training_errors)), "seconds": 90.0}
    result["views"] = 9
    if day:
        result["machine"] = {"date": f"{day} 13:45 UTC", "device": "cpu"}
    (folder / "result.json").write_text(json.dumps(result))
    return folder
