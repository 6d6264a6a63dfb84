"""Section 3.3: the effect of response normalization across maps.

    python -m src.experiment --config=configs/experiments/lrn.py

The paper's four-layer network for CIFAR-10 has a test error of 13% without normalization and of 11%
with it. However, cuda-convnet's files for these two errors also differ in the width of a layer.
Here the two variants differ only in the two normalizations of conv-local-11pct. They are trained
for 60 epochs instead of the files' 520, with the learning rate ÷ 10 after 50 and 55 epochs. So only
the difference can be compared with the paper, not the errors.

Result: not run to its end yet.
Time: not measured; there are six runs.
"""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
    shorter = {"duration": "60 epochs", "schedule.boundaries": ("50 epochs", "55 epochs")}
    normalized = changed(cifar.get_config("conv-local-11pct", dataset), shorter)
    return comparison(
        "Response normalization lowers the test error on CIFAR-10 from 13% to 11% (section 3.3)",
        {
            "without": changed(normalized, {"model.norms.lrn.enabled": False}),
            "normalized": normalized,
        },
        reference={"normalized": "without"},
        seeds=(0, 1, 2),
    )
