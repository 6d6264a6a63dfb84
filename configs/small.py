"""AlexNet for little data: the same two towers, at 64 pixels.

    python -m src.main --config=configs/small.py[:DATASET]

DATASET is `digits` (the default: scikit-learn's handwritten digits, nothing to download),
`folder:PATH`, `cifar10`, or any other TFDS name.

The paper's recipe stays at chance for a long time on little data: its initial weights are so small
that almost nothing of an image reaches the last layer. What differs from configs/alexnet.py:

- images of 73 × 73 and crops of 64 × 64, because small data sets often have small images, and a
  step takes a fraction of the time;
- initial weights after He et al. (2015), biases of 0 and inputs ÷ 64, so that the signal keeps its
  size through the eight layers from the first step on;
- dropout that scales in training: the learning rates were chosen with it;
- 40 epochs (15 for digits) in batches of 64, and a cosine schedule from a learning rate of 0.02
  (0.01 for digits);
- for digits no color noise, one view in the final evaluation, and no mirror images, because a
  mirrored digit is no digit.
"""

from dataclasses import replace

from ml_collections import ConfigDict

from configs.alexnet import paper
from src.models.presets import PAPER


def get_config(dataset: str = "digits") -> ConfigDict:
    """The recipe for a data set."""
    small = replace(
        PAPER,
        image_size=64,
        input_scale=1 / 64,
        init="he",
        dropout_scaling="training",
        convs={name: replace(spec, bias=0.0) for name, spec in PAPER.convs.items()},
        dense={name: replace(spec, bias=0.0) for name, spec in PAPER.dense.items()},
    )
    config = paper(dataset, small)
    config.batch_size = 64
    config.duration = "40 epochs"
    config.evaluate_every = "4 epochs"
    config.checkpoint_every = "4 epochs"
    config.data.size = 73
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 0.02

    if dataset == "digits":
        config.duration = "15 epochs"
        config.schedule.learning_rate = 0.01
        config.views = 1
        config.augment.mirror = False
        config.augment.color = "none"
    return config
