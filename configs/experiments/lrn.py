"""Section 3.3: what response normalization across maps is good for.

    python -m src.experiment --config=configs/experiments/lrn.py

The paper's four-layer network for CIFAR-10 has a test error of 13% without and of 11% with it.
cuda-convnet's files for these two errors, though, also differ in the width of a layer. Here it is
conv-local-11pct with and without its two normalizations, and nothing else; in 60 epochs, with the
rate ÷ 10 after 50 and 55, where the files have 520. So the errors are not those of the paper; their
difference is what can be compared.
"""

from ml_collections import ConfigDict

from configs import cifar
from src.experiment.spec import changed, comparison


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, in short."""
    sooner = {"duration": "60 epochs", "schedule.boundaries": ("50 epochs", "55 epochs")}
    normalized = changed(cifar.get_config("conv-local-11pct", dataset), sooner)
    return comparison(
        "Response normalization lowers the test error on CIFAR-10 from 13% to 11% (section 3.3)",
        {
            "without": changed(normalized, {"model.norms.lrn.enabled": False}),
            "normalized": normalized,
        },
        reference="without",
        seeds=(0, 1, 2),
    )
