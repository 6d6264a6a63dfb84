"""A classifier of your photographs, which starts from torchvision's weights for ImageNet.

    python -m src.convert --config=torchvision --weights=FILE --workdir=runs/imagenet
    python -m src.main --config=finetune:folder:PATH --config.init_from=runs/imagenet

First download FILE: https://download.pytorch.org/models/alexnet-owt-7be5be79.pth. The convolutions
stay as they are, fc6 and fc7 start from the file's weights, and fc8 is new. If you have only the
convolutions, import them with --config=finetune:folder:PATH; the dense layers are then random.
Four epochs with a cosine schedule suffice for a few thousand images.
"""

from ml_collections import ConfigDict

from configs import torchvision
from src.errors import UserError


def get_config(dataset: str = "") -> ConfigDict:
    """The recipe for a data set, such as folder:PATH."""
    if not dataset:
        raise UserError("--config=finetune: of which images? give finetune:folder:PATH")
    config = torchvision.get_config(dataset)
    config.optimizer.frozen_layers = "conv*"
    config.duration = "4 epochs"
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 0.01
    config.views = 1
    return config
