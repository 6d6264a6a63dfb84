"""Section 3.2: two towers with the paper's connections, with fewer and with more.

    python -m src.experiment --config=configs/experiments/towers.py[:DATASET]

DATASET is `imagenette` (the default), `folder:PATH`, or another TFDS name. The recipe is that of
configs/small.py, at 64 pixels. On ImageNet the top-1 error of the paper's two towers is 1.7 points
lower than that of one tower with half of the maps. The authors' network without any connection (run
#150 of their code) has 41.8%, the paper's 40.7%. In the variant that connects all layers, response
normalization is also across the maps of both towers, as in a network that is not split.

Result (three seeds, a directory of 1,525 photographs): 24.91 ± 0.91% with one tower of half width,
23.98 ± 1.48% with two unconnected, 23.87 ± 0.70% with the paper's, 25.45 ± 2.22% with all
connected. No difference is significant.
Time: 55 minutes on two cores of an AMD EPYC.
"""

from ml_collections import ConfigDict

from configs import small
from src.experiment.spec import changed, comparison
from src.models.presets import ONE_GPU


def get_config(dataset: str = "imagenette") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test that takes seconds."""
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
