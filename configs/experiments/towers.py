"""Section 3.2: two towers that talk where the paper's do, and what comes of talking less or more.

    python -m src.experiment --config=configs/experiments/towers.py[:DATASET]

DATASET is `imagenette` (the default), `folder:PATH`, or another name of TFDS's. The recipe is
configs/small.py's, at 64 pixels. On ImageNet the paper's two towers have 1.7 points less top-1
error than one with half of the maps; the authors' network without any connection (run #150 of their
code) has 41.8%, where the paper's has 40.7%. Where all layers are connected, response normalization
is across the maps of both towers too, as in a network that is not split.
"""

from ml_collections import ConfigDict

from configs import small
from src.experiment.spec import changed, comparison
from src.models.presets import ONE_GPU


def get_config(dataset: str = "imagenette") -> ConfigDict:
    """The experiment on a data set; on `digits`, in short."""
    paper = small.get_config(dataset)
    half = {f"model.convs.{name}.maps": spec.maps for name, spec in ONE_GPU.convs.items()}
    connected = {
        "model.exchange_before": ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"),
        "model.norms.lrn.across": "towers",
    }
    return comparison(
        "Two towers with the paper's connections have 1.7 points less top-1 error on ImageNet than "
        "one with half of the maps (section 3.2)",
        {
            "one of half width": changed(paper, {"model.towers": 1, **half}),
            "two, unconnected": changed(paper, {"model.exchange_before": ("fc8",)}),
            "two, the paper's": paper,
            "two, all connected": changed(paper, connected),
        },
        reference={
            "two, the paper's": "one of half width",
            "two, unconnected": "two, the paper's",
            "two, all connected": "two, the paper's",
        },
        seeds=(0, 1, 2),
    )
