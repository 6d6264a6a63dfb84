"""Published networks of the AlexNet family, each as the fields that tell it from the others.

preset        what it is                                               parameters
PAPER         the network of the paper's text, split over two GPUs     60,965,224
CHM145        the one that the authors' released code ran (run #145)   60,965,224
ONE_GPU       the paper's one-GPU comparator (run #145-half)           59,798,312
TORCHVISION   the one column of "One weird trick", as in torchvision   61,100,840
BVLC          Caffe's bvlc_alexnet                                     60,965,224
CAFFENET      Caffe's bvlc_reference_caffenet                          60,965,224

Those that the same authors' cuda-convnet came with for CIFAR-10 are in src.models.cifar.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .architecture import Architecture, ConvSpec, DenseSpec, NormSpec, PoolSpec

PAPER = Architecture(
    convs={
        "conv1": ConvSpec(
            96, 11, stride=4, padding=(0, 3), followed_by=("activation", "lrn", "pool")
        ),
        "conv2": ConvSpec(
            256, 5, padding=(2, 2), bias=1.0, followed_by=("activation", "lrn", "pool")
        ),
        "conv3": ConvSpec(384, 3, padding=(1, 1)),
        "conv4": ConvSpec(384, 3, padding=(1, 1), bias=1.0),
        "conv5": ConvSpec(256, 3, padding=(1, 1), bias=1.0, followed_by=("activation", "pool")),
    },
    dense={"fc6": DenseSpec(4096, bias=1.0), "fc7": DenseSpec(4096, bias=1.0), "fc8": DenseSpec()},
    norms={"lrn": NormSpec()},
    pools={"pool": PoolSpec()},
)


def vary(base: Architecture, **changes: Any) -> Architecture:
    """The network `base` with other fields. A layer's name changes the fields of that layer."""
    parts: list[Mapping[str, Any]] = [base.convs, base.dense]
    convs, dense = (
        {name: replace(spec, **changes.pop(name, {})) for name, spec in part.items()}
        for part in parts
    )
    return replace(base, convs=convs, dense=dense, **changes)


CHM145 = vary(
    PAPER,
    conv1={"followed_by": ("lrn", "pool", "activation")},
    conv2={"followed_by": ("activation", "lrn", "same_map", "pool")},
    conv3={"sigma": 0.03},
    conv4={"sigma": 0.03},
    conv5={"sigma": 0.03, "followed_by": ("pool", "activation")},
    # The code divides alpha by the size of the window.
    norms={
        "lrn": NormSpec(alpha=1e-4 / 5),
        "same_map": NormSpec(k=1.0, alpha=0.001 / 25, across="spatial"),
    },
)

ONE_GPU = vary(
    PAPER,
    towers=1,
    conv1={"maps": 48},
    conv2={"maps": 128},
    conv3={"maps": 192},
    conv4={"maps": 192},
)

# Two towers that exchange everything are one column, which can still be split over two devices.
TORCHVISION = vary(
    PAPER,
    exchange_before=("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"),
    conv1={"maps": 64, "padding": (2, 2), "followed_by": ("activation", "pool")},
    conv2={"maps": 192, "bias": 0.0, "followed_by": ("activation", "pool")},
    conv4={"maps": 256, "bias": 0.0},
    conv5={"bias": 0.0},
    fc6={"bias": 0.0},
    fc7={"bias": 0.0},
    norms={},
    init="pytorch",
    dropout_scaling="training",
    input_scale=1 / 58,  # about what torchvision divides by: its colors' deviations
)

# Caffe's windows reach from one group's maps into the other's; it divides alpha by their size.
BVLC = vary(
    PAPER,
    image_size=227,
    conv1={"padding": (0, 0)},
    conv2={"bias": 0.1},
    conv4={"bias": 0.1},
    conv5={"bias": 0.1},
    fc6={"sigma": 0.005, "bias": 0.1},
    fc7={"sigma": 0.005, "bias": 0.1},
    norms={"lrn": NormSpec(k=1.0, alpha=1e-4 / 5, across="towers")},
    dropout_scaling="training",
)

CAFFENET = vary(
    PAPER,
    image_size=227,
    conv1={"padding": (0, 0), "followed_by": ("activation", "pool", "lrn")},
    conv2={"followed_by": ("activation", "pool", "lrn")},
    fc6={"sigma": 0.005},
    fc7={"sigma": 0.005},
    norms=BVLC.norms,
    dropout_scaling="training",
)

PRESETS = {
    "paper": PAPER,
    "chm145": CHM145,
    "one_gpu": ONE_GPU,
    "torchvision": TORCHVISION,
    "bvlc": BVLC,
    "caffenet": CAFFENET,
}
