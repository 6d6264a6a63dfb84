"""The averaged probabilities of several networks."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import RawImage
from ..data.loader import eval_batches
from ..data.preparation import prepare_dataset
from ..distributed.mesh import DATA_AXIS, local_rows, make_mesh
from ..errors import UserError
from ..runs.config import read_config
from ..runs.workdir import check_data
from .classifier import Classifier, FileResult, load
from .evaluation import Member, evaluate


def evaluate_ensemble(
    workdirs: Sequence[Path],
    views: int | None = None,
    checkpoint: str = "newest",
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The average of the networks of several runs, on their evaluation split.

    Args:
      workdirs: of runs on the same data; or of a single one.
      views: of each image; None for the first recipe's.
      checkpoint: "newest" or "best".
      before_batch: called before each batch, by those who want to know that it goes on.

    Returns:
      What `evaluate` does, `views`, `split`, the name of the evaluation split, and `steps`, that
      each network was trained for.

    Raises:
      UserError: there is no run in a folder, or they are on different data.
    """
    configs = [read_config(workdir) for workdir in workdirs]
    sources = {(c.data.dataset, c.data.train_split, c.data.eval_split) for c in configs}
    if len(sources) > 1:
        raise UserError(f"workdir: trained on different data: {sorted(sources)}; name such of one")
    mesh = make_mesh(None, towers=math.gcd(*(c.model.towers for c in configs)))
    shards = mesh.shape[DATA_AXIS]
    global_batch = -(-configs[0].batch_size // shards) * shards
    rows = local_rows(mesh, global_batch)
    views = views or configs[0].views

    members, steps = [], []
    for workdir, config in zip(workdirs, configs, strict=True):
        classifier = load(workdir, checkpoint=checkpoint, mesh=mesh)
        data = prepare_dataset(config.data)
        check_data(workdir, data)
        batches = functools.partial(
            eval_batches, data, data.eval_split, rows, global_batch=global_batch
        )
        parts = (classifier.classify(views), classifier.params, classifier.statistics, batches)
        members.append(Member(*parts))
        steps.append(classifier.step)

    def never_stop() -> bool:
        before_batch()
        return False

    result = evaluate(members, mesh, global_batch, never_stop)
    assert result is not None  # nothing asks it to stop
    return {**result, "views": views, "split": data.eval_split, "steps": steps}


def predict_ensemble(
    members: Mapping[str, Classifier], originals: Sequence[RawImage], views: int | None
) -> Iterator[FileResult]:
    """The mean of the members' probabilities (classes,) of one file after the other.

    Args:
      members: the networks by their workdirs.
      originals: see `Classifier.predict_files`.
      views: of each image; None for each recipe's own.

    Raises:
      UserError: the members have different classes.
    """
    first_workdir, *_ = members
    for workdir, member in members.items():
        if member.class_names != members[first_workdir].class_names:
            raise UserError(f"workdir: {workdir} has other classes than {first_workdir}")
    all_results = (member.predict_files(originals, views) for member in members.values())
    for of_members in zip(*all_results, strict=True):
        first = of_members[0]
        if first.output is None:
            yield first
        else:
            mean = np.mean([of_member.output for of_member in of_members], axis=0)
            yield first._replace(output=mean)
