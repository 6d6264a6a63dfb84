"""Training speed and peak memory of the same network and recipe in PyTorch.

    python -m benchmarks.pytorch [--batch=128] [--seconds=10] [--channels_last=1]

It takes about half a minute. Convolutions have `groups=2`; response normalization stays within a
tower. PyTorch skips the color noise and the mean image's cropping, and gets pixels in NCHW order.
"""

from typing import Any

import torch
from torch import nn

from benchmarks import training, worker


class TowerNorm(nn.LocalResponseNorm):
    """The paper's response normalization, within each tower."""

    def __init__(self) -> None:
        super().__init__(
            size=5, k=2.0, alpha=1e-4 * 5, beta=0.75
        )  # PyTorch's alpha multiplies a mean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.unflatten(1, (2, -1)).flatten(0, 1)).view_as(x)


def network() -> nn.Sequential:
    """The paper's AlexNet."""
    return nn.Sequential(
        *(nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, stride=4)),
        *(nn.ReLU(), TowerNorm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), TowerNorm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Flatten(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
        nn.Linear(4096, training.CLASSES),
    )


def main() -> dict[str, Any]:
    """Trains on the same batch repeatedly."""
    flags = training.parse(channels_last=0)
    torch.set_num_threads(worker.CORES)
    layout = torch.channels_last if flags.channels_last else torch.contiguous_format
    model = network().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005)
    batch = training.random_batch(flags.batch)
    pixels = torch.from_numpy(batch["image"].transpose(0, 3, 1, 2)).contiguous(memory_format=layout)
    labels = torch.from_numpy(batch["label"]).long()
    mean = torch.from_numpy(training.random_mean()[16:-16, 16:-16].transpose(2, 0, 1))

    def step() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pixels - mean), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return training.measure(step, flags)


if __name__ == "__main__":
    worker.report(main)
