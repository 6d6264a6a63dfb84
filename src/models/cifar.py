"""The networks for CIFAR-10 that cuda-convnet came with, of 2011 and 2012, by the same authors.

They are the small networks on which the paper's ideas were tried: its Figure 1 and the end of its
section 3.3 are about such. From the files layers-*.cfg and layer-params-*.cfg of cuda-convnet
(example-layers/), which also have the errors and the weight decay.

network          what it is                                      parameters   test error
SEC80            "80sec", three convolutions and two dense          145,578   26%
PCT19            "19pct", the same convolutions and one dense        89,578   19%
PCT18            "18pct", with normalization over positions         89,578   18%
CONV_LOCAL_13    "conv-local-13pct", two layers locally connected 1,116,490   13%
CONV_LOCAL_11    "conv-local-11pct", with normalization over maps 2,112,970   11%

The last two take crops of 24 × 24. The dense layers, which the files name fc64 and fc10 after their
units, are named after their depth here, like the others.
"""

from dataclasses import replace

from .architecture import Architecture, ConvSpec, DenseSpec, NormSpec, PoolSpec
from .presets import vary

# The first pooling comes before ReLU, as in the files; for maxima the order makes no difference.
PCT19 = Architecture(
    convs={
        "conv1": ConvSpec(32, 5, padding=(2, 2), sigma=1e-4, followed_by=("max", "activation")),
        "conv2": ConvSpec(32, 5, padding=(2, 2), followed_by=("activation", "average")),
        "conv3": ConvSpec(64, 5, padding=(2, 2), followed_by=("activation", "average")),
    },
    dense={"fc4": DenseSpec()},
    norms={},
    pools={"max": PoolSpec(), "average": PoolSpec(kind="average")},
    image_size=32,
    towers=1,
    exchange_before=(),
    dropout=0.0,
)

SEC80 = replace(PCT19, dense={"fc4": DenseSpec(64, sigma=0.1), "fc5": DenseSpec(sigma=0.1)})

# cuda-convnet divides the `scale` of its files by the size of the window, and adds it to 1.
PCT18 = vary(
    PCT19,
    conv1={"followed_by": ("max", "activation", "rnorm")},
    conv2={"followed_by": ("activation", "average", "rnorm")},
    norms={"rnorm": NormSpec(n=3, k=1.0, alpha=5e-5 / 9, across="spatial")},
)

CONV_LOCAL_13 = replace(
    PCT19,
    convs={
        "conv1": ConvSpec(64, 5, padding=(2, 2), sigma=1e-4, followed_by=("activation", "max")),
        "conv2": ConvSpec(64, 5, padding=(2, 2), followed_by=("activation", "max")),
        "local3": ConvSpec(32, 3, padding=(1, 1), sigma=0.04, local=True),
        "local4": ConvSpec(32, 3, padding=(1, 1), sigma=0.04, local=True),
    },
    dense={"fc5": DenseSpec()},
    pools={"max": PoolSpec()},
    image_size=24,
)

CONV_LOCAL_11 = vary(
    CONV_LOCAL_13,
    conv1={"followed_by": ("activation", "max", "lrn")},
    conv2={"followed_by": ("activation", "lrn", "max")},
    local3={"maps": 64},
    norms={"lrn": NormSpec(n=9, k=1.0, alpha=0.001 / 9)},
)

PRESETS = {
    "80sec": SEC80,
    "19pct": PCT19,
    "18pct": PCT18,
    "conv-local-13pct": CONV_LOCAL_13,
    "conv-local-11pct": CONV_LOCAL_11,
}
