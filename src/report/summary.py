"""The head of the page: the network, its results, and what is special about its recipe."""

from dataclasses import asdict
from typing import Any

from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset
from ..data.sources import dataset_name
from ..figures.layers import PUBLISHED, published_name
from ..runs.config import Difference, differences
from ..runs.defaults import default_config
from ..runs.provenance import read_provenance
from ..runs.results import read_result, result_at
from .run import Run


def summarize(run: Run, data: PreparedDataset | None, error: float | None) -> dict[str, Any]:
    """The results of the network at the step of the checkpoint.

    Args:
      data: its images; None if they are missing.
      error: of the centers of the evaluation images; used if no evaluation of the step is logged.
    """
    step = run.classifier.step
    result, provenance = read_result(run.workdir), read_provenance(run.workdir)
    is_last = result is not None and result["step"] == step
    logged = result_at(run.workdir, step, run.config.views)
    training_images = data and data.num_examples[data.train_split]
    return {
        "views": 1,
        "top1_error": error,
        "top5_error": None,
        "examples": data and data.num_examples[data.eval_split],
        **(logged or {}),
        "logged": logged is not None,
        "network": published_name(run.config.model),
        "dataset": dataset_name(run.config.data.dataset),
        "eval_split": data.eval_split if data else "evaluation",
        "training_images": training_images,
        "epochs": training_images and step * run.config.batch_size / training_images,
        "provenance": provenance,
        "finished": result is not None or provenance is not None,
        "is_last": is_last,
        "seconds": result["seconds"] if result and is_last else None,
    }


def preset_differences(config: ConfigDict) -> tuple[str, list[Difference]]:
    """The nearest published network, and the fields that differ from it and the paper's training.

    Returns:
      The network's name, and for each field its name, its value there, and its value here.
    """
    name = published_name(config.model).removesuffix(", varied")
    preset = default_config()
    preset.model = ConfigDict(asdict(PUBLISHED[name]))
    return name, differences(preset, config)
