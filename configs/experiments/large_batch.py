"""16 times the batch: LARS against momentum alone, and both against the small batch.

    python -m src.experiment --config=configs/experiments/large_batch.py

You, Gitman and Ginsburg (2017) train AlexNet on ImageNet with batches of 8,192 images. Here it is
cuda-convnet's 80sec, for ten epochs in each case; see configs/large_batch.py.

Result on digits, with `smoke=False` in this file (three seeds): 1.11 ± 0.28% test error with
batches of 16. With batches of 256, 11.85 ± 5.15% with momentum, and 15.19 ± 1.37% with LARS. The
best learning rate of momentum is 0.002, as for the small batch; at 16 times 0.001 it stays at
chance. So linear scaling fails, and LARS does not help. results/large_batch.json has all rates.
Time: an hour, on two cores of an AMD EPYC, which other programs used too.

It has not been run on CIFAR-10, where 21 runs take some two hours on two cores (estimated).
"""

from ml_collections import ConfigDict

from configs import large_batch
from src.experiment.spec import changed, comparison

SMALL, MOMENTUM, LARS = "small batch", "large, momentum", "large, LARS"


def get_config(dataset: str = "cifar10") -> ConfigDict:
    """The experiment on a data set; on `digits`, a smoke test: it says nothing about LARS."""
    small, large = large_batch.small_batch(dataset), large_batch.get_config(dataset)
    as_small = {name: small.optimizer[name] for name in ("name", "bias_lr_multiplier")}
    momentum = changed(large, {f"optimizer.{name}": value for name, value in as_small.items()})
    return comparison(
        "With linear scaling and warm-up alone, large batches come to a higher error than small "
        "ones; with LARS they do not (You, Gitman and Ginsburg 2017)",
        {SMALL: small, MOMENTUM: momentum, LARS: large},
        reference={MOMENTUM: SMALL, LARS: SMALL},
        rates={
            SMALL: (0.0005, 0.001, 0.002, 0.004),
            MOMENTUM: (0.001, 0.002, 0.004, 0.008, 0.016),
            LARS: (0.01, 0.02, 0.04),
        },
        search="10 epochs",
        seeds=(0, 1, 2),
    )
