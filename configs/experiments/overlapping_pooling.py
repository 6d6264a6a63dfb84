"""Section 3.4: overlapping pooling windows (3 × 3, stride 2) against separate ones (2 × 2).

    python -m src.experiment --config=configs/experiments/overlapping_pooling.py

On ImageNet overlapping pooling lowers the paper's top-1 error by 0.4 points. Here cuda-convnet's
19pct is trained on crops of CIFAR-10 for 40 epochs. The maps have the same size in both variants.
The standard deviation over seeds is about 0.3 points, so five seeds of each can detect differences
of half a point or more.

Result: not run to its end yet.
Time: ten runs of about 14 minutes (estimated), on two cores of an AMD EPYC with --cpu_devices=4.
"""

from ml_collections import ConfigDict

from configs.experiments.crops import crops
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
    overlapping = crops(dataset)
    return comparison(
        "Overlapping pools lower the top-1 error by 0.4 points on ImageNet (section 3.4)",
        {
            "2 by 2": changed(
                overlapping, {"model.pools.max.window": 2, "model.pools.average.window": 2}
            ),
            "3 by 3": overlapping,
        },
        reference={"3 by 3": "2 by 2"},
        seeds=(0, 1, 2, 3, 4),
    )
