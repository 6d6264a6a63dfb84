"""The head of the page: which network it is about, and how well that does."""

from pathlib import Path
from typing import Any

from ..data.dataset import PreparedDataset
from ..runs.provenance import read_provenance
from ..runs.results import read_result, result_at
from . import network
from .run import Run

MEASURED = ("top1_error", "top5_error", "views", "examples")


def facts(run: Run, data: PreparedDataset | None, error: float | None) -> dict[str, Any]:
    """The outcome in numbers: those of the very step that the network is of.

    Args:
      data: its images; None where they are not there.
      error: of the centers of the evaluation images, if nothing is known of that step.
    """
    config, step = run.config, run.classifier.step
    result = read_result(run.workdir)
    last = result if result and result["step"] == step else None
    known = result_at(run.workdir, step, config.views)
    provenance = read_provenance(run.workdir)
    dataset: str = config.data.dataset
    is_folder = dataset.startswith("folder:")
    return {
        "network": network.published_name(config.model),
        "provenance": provenance,
        "dataset": Path(dataset.removeprefix("folder:")).name if is_folder else dataset,
        "classes": len(run.class_names),
        "finished": result is not None or provenance is not None,
        "is_last": last is not None,
        "step": step,
        "checkpoint": run.checkpoint,
        "known": known is not None,
        "top1_error": error,
        "top5_error": None,
        "views": 1,
        "duration": config.duration,
        "seconds": last and last["seconds"],
        "batch_size": config.batch_size,
        "image_size": run.architecture.image_size,
        **_counts(data, step * config.batch_size),
        **{name: value for name, value in (known or {}).items() if name in MEASURED},
    }


def _counts(data: PreparedDataset | None, images: int) -> dict[str, Any]:
    if not data:
        names = ("examples", "training_images", "epochs")
        return {"eval_split": "evaluation", **dict.fromkeys(names)}
    training_images = data.num_examples[data.train_split]
    return {
        "eval_split": data.eval_split,
        "examples": data.num_examples[data.eval_split],
        "training_images": training_images,
        "epochs": images / training_images,
    }
