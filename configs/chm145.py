"""Run #145 of the authors' code, which the paper reports but describes differently in its text.

    python -m src.main --config=configs/chm145.py[:DATASET]

The code was released in 2025 (computerhistory/AlexNet-Source-Code). What differs from
configs/alexnet.py:

- conv1: normalization, pooling, then ReLU; conv5: pooling, then ReLU; conv2: before pooling, a
  further normalization over 5 × 5 positions of the same map; alpha ÷ the size of the window;
- initial weights of conv3 to conv5 with a standard deviation of 0.03;
- no weight decay on biases;
- the center of the mean image is subtracted from every crop; 32 images in a row share a crop;
- color noise of a tenth of the colors' own standard deviations, then ÷ 1.1;
- the learning rate ÷ 10 after 23, 51 and 78 of 93 epochs.

In that run, conv1 and the colors were changed by hand at epochs 68 and 72; this is left out.

Expected on ImageNet: the authors' log has 37.5% top-1 and 17.0% top-5 error on the test set of 2010
with ten views. This recipe has not been run to its end on ImageNet by this project.
"""

from ml_collections import ConfigDict

from configs.alexnet import paper
from src.models.presets import CHM145


def get_config(dataset: str = "imagenet2012") -> ConfigDict:
    """The recipe for a data set."""
    config = paper(dataset, CHM145)
    config.duration = "93 epochs"
    config.optimizer.decay_biases = False
    config.augment.mean = "center"
    config.augment.images_per_crop = 32
    config.augment.color = "deviations"
    config.schedule.name = "steps"
    config.schedule.boundaries = ("23 epochs", "51 epochs", "78 epochs")
    return config
