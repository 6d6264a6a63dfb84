"""The averaged probabilities of several networks."""

import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ..data.dataset import PreparedDataset, identity_of
from ..data.images import RawImage
from ..data.loader import eval_batches
from ..data.preparation import prepare_dataset
from ..distributed.mesh import DATA_AXIS, local_rows, make_mesh
from ..errors import UserError
from ..runs.config import read_config
from ..runs.preprocessing import read_preprocessing
from ..runs.workdir import check_classes
from .classifier import Classifier, FileResult, load
from .evaluation import Member, evaluate

logger = logging.getLogger(__name__)


def evaluate_ensemble(
    workdirs: Sequence[Path],
    views: int | None = None,
    checkpoint: str = "newest",
    before_batch: Callable[[], None] = lambda: None,
    data: Mapping[str, str] | None = None,
    counts_classes: bool = False,
) -> dict[str, Any]:
    """The average of the networks of several runs, on their evaluation split or other images.

    Args:
      workdirs: of runs on the same data.
      views: of each image; None for the first recipe's.
      before_batch: called before each batch, to report progress.
      data: fields of `config.data` that replace the recipes'.
      counts_classes: whether to return `confusion`.

    Returns:
      What `evaluate` does, `views` and `class_names`; `dataset` and `split`, the names; `steps`,
      that each network was trained for; `images`, the name of the prepared dataset, None if it is
      the first run's own; `confusion`, the images by true (row) and most probable class.

    Raises:
      UserError: a directory has no run, or the runs or the images have different data or classes.
    """
    configs = _read_configs(workdirs, data)
    mesh = make_mesh(None, towers=math.gcd(*(c.model.towers for c in configs)))
    shards = mesh.shape[DATA_AXIS]
    global_batch = -(-configs[0].batch_size // shards) * shards
    views = views or configs[0].views
    classifiers = [load(workdir, checkpoint=checkpoint, mesh=mesh) for workdir in workdirs]
    rows, datasets, members = local_rows(mesh, global_batch), [], []
    for workdir, classifier, config in zip(workdirs, classifiers, configs, strict=True):
        check = functools.partial(check_classes, workdir)
        own = "" if data else read_preprocessing(workdir).dataset
        dataset = prepare_dataset(config.data, trains=not data, check_classes=check, own=own)
        split = dataset.eval_split
        batches = functools.partial(eval_batches, dataset, split, rows, global_batch=global_batch)
        classify = classifier.classify(views)
        members.append(Member(classify, classifier.params, classifier.statistics, batches))
        datasets.append(dataset)
    first = datasets[0]
    confusion = np.zeros((len(first.class_names),) * 2, int) if counts_classes else None
    result: dict[str, Any] | None = evaluate(members, mesh, global_batch, before_batch, confusion)
    assert result is not None  # nothing asks it to stop
    result |= {"views": views, "dataset": configs[0].data.dataset, "split": first.eval_split}
    result["steps"] = [classifier.step for classifier in classifiers]
    result["images"] = _other_images(workdirs[0], first, configs[0].data)
    return {**result, "class_names": first.class_names, "confusion": confusion}


def _read_configs(workdirs: Sequence[Path], data: Mapping[str, str] | None) -> list[ConfigDict]:
    """The runs' configurations, with other fields of `config.data`."""
    configs = [read_config(workdir) for workdir in workdirs]
    for config in configs:
        config.data.update(data or {})
    sources = {(c.data.dataset, c.data.train_split, c.data.eval_split) for c in configs}
    if len(sources) > 1:
        raise UserError(f"workdir: the runs have different data: {sorted(sources)}; choose one")
    return configs


def _other_images(workdir: Path, dataset: PreparedDataset, section: ConfigDict) -> str | None:
    """The name of a dataset; None if it is the run's own, which for imported weights is any."""
    before, name = read_preprocessing(workdir).dataset, dataset.directory.name
    is_default = dataset.train_split in dataset.num_examples
    if identity_of(name) == identity_of(before) or (is_default and not before):
        return None
    if is_default:
        message = "workdir %s: its images have changed since training: they were %s and are %s"
        logger.warning(message, workdir, before, name)
    trained_on = Path(section.root).expanduser() / before
    if before and trained_on.exists():
        own = PreparedDataset(trained_on).digests("train")
        if repeated := len(own & dataset.digests(dataset.eval_split)):
            logger.warning("workdir %s: it was trained on %d of these images", workdir, repeated)
    return name


def predict_ensemble(
    members: Mapping[str, Classifier], originals: Sequence[RawImage], views: int | None
) -> Iterator[FileResult]:
    """The members' mean probabilities (classes,) by file; UserError if their classes differ."""
    first_workdir, *_ = members
    for workdir, member in members.items():
        if member.class_names != members[first_workdir].class_names:
            raise UserError(f"workdir: {workdir} has other classes than {first_workdir}")
    all_results = (member.predict_files(originals, views) for member in members.values())
    for results in zip(*all_results, strict=True):
        first, *_ = results
        if first.output is None:  # no member can read the file
            yield first
        else:
            yield first._replace(output=np.mean([result.output for result in results], axis=0))
