"""The networks against their formulas, written out tower by tower in NumPy and in PyTorch."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from src.models.presets import PAPER, PRESETS
from tests.support import miniature


def relu(x):
    return np.maximum(x, 0)


def conv(x, layer, tower, stride=1, padding=(1, 1)):
    kernel = layer["kernel"][tower].astype(np.float64)
    x = np.pad(x, ((0, 0), padding, padding, (0, 0)))
    windows = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nijcab,abco->nijo", windows, kernel, optimize=True) + layer["bias"][tower]


def lrn(x, alpha, k=2):
    out = np.empty_like(x)
    for i in range(x.shape[-1]):
        around = x[..., max(0, i - 2) : i + 3]
        out[..., i] = x[..., i] / (k + alpha * (around**2).sum(axis=-1)) ** 0.75
    return out


def same_map_norm(x):
    squares = np.pad(x**2, ((0, 0), (2, 2), (2, 2), (0, 0)))
    total = sliding_window_view(squares, (5, 5), axis=(1, 2)).sum(axis=(-2, -1))
    return x / (1 + 0.001 / 25 * total) ** 0.75


def pool(x):
    beyond = [(0, 0), *((0, (3 - side) % 2) for side in x.shape[1:3]), (0, 0)]
    x = np.pad(x, beyond, constant_values=-np.inf)
    return sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))


def dense(x, layer, tower):
    return x @ layer["kernel"][tower].astype(np.float64) + layer["bias"][tower]


def numpy_dense_layers(p, towers, scale=1.0):
    """From each tower's last maps to the scores; every layer sees all of the one before.

    `scale`: 0.5 where dropout left half of the units out in training (section 4.2).
    """
    h = np.concatenate([x.reshape(len(x), -1) for x in towers], axis=1)
    for name in ("fc6", "fc7"):
        h = scale * np.concatenate([relu(dense(h, p[name], t)) for t in range(len(towers))], axis=1)
    return np.concatenate([dense(h, p["fc8"], t) for t in range(len(towers))], axis=1)


def numpy_paper(p, x):
    a, b = (pool(lrn(relu(conv(x, p["conv1"], t, 4, (0, 3))), 1e-4)) for t in (0, 1))
    a, b = (pool(lrn(relu(conv(h, p["conv2"], t, 1, (2, 2))), 1e-4)) for t, h in enumerate((a, b)))
    both = np.concatenate((a, b), axis=-1)
    a, b = (relu(conv(both, p["conv3"], t)) for t in (0, 1))
    a, b = (relu(conv(h, p["conv4"], t)) for t, h in enumerate((a, b)))
    a, b = (pool(relu(conv(h, p["conv5"], t))) for t, h in enumerate((a, b)))
    return numpy_dense_layers(p, (a, b), scale=0.5)


def numpy_chm145(p, x):
    a, b = (relu(pool(lrn(conv(x, p["conv1"], t, 4, (0, 3)), 2e-5))) for t in (0, 1))
    a, b = (
        pool(same_map_norm(lrn(relu(conv(h, p["conv2"], t, 1, (2, 2))), 2e-5)))
        for t, h in enumerate((a, b))
    )
    both = np.concatenate((a, b), axis=-1)
    a, b = (relu(conv(both, p["conv3"], t)) for t in (0, 1))
    a, b = (relu(conv(h, p["conv4"], t)) for t, h in enumerate((a, b)))
    a, b = (relu(pool(conv(h, p["conv5"], t))) for t, h in enumerate((a, b)))
    return numpy_dense_layers(p, (a, b), scale=0.5)


def numpy_one_gpu(p, x):
    h = pool(lrn(relu(conv(x, p["conv1"], 0, 4, (0, 3))), 1e-4))
    h = pool(lrn(relu(conv(h, p["conv2"], 0, 1, (2, 2))), 1e-4))
    for name in ("conv3", "conv4", "conv5"):
        h = relu(conv(h, p[name], 0))
    return numpy_dense_layers(p, (pool(h),), scale=0.5)


def numpy_torchvision(p, x):
    def column(h, name, *geometry):
        return np.concatenate([relu(conv(h, p[name], t, *geometry)) for t in (0, 1)], axis=-1)

    h = pool(column(x / 58, "conv1", 4, (2, 2)))
    h = pool(column(h, "conv2", 1, (2, 2)))
    for name in ("conv3", "conv4", "conv5"):
        h = column(h, name)
    return numpy_dense_layers(p, np.split(pool(h), 2, axis=-1))


def numpy_caffe(p, x, pool_and_norm):
    """Its normalization does not know of groups."""

    def both(h, name, *geometry):
        return [relu(conv(part, p[name], t, *geometry)) for t, part in enumerate(h)]

    h = pool_and_norm(np.concatenate(both((x, x), "conv1", 4, (0, 0)), axis=-1))
    h = pool_and_norm(np.concatenate(both(np.split(h, 2, axis=-1), "conv2", 1, (2, 2)), axis=-1))
    a, b = both(both((h, h), "conv3"), "conv4")
    return numpy_dense_layers(p, [pool(part) for part in both((a, b), "conv5")])


def numpy_bvlc(p, x):
    return numpy_caffe(p, x, lambda h: pool(lrn(h, 2e-5, k=1)))


def numpy_caffenet(p, x):
    return numpy_caffe(p, x, lambda h: lrn(pool(h), 2e-5, k=1))


NUMPY = {
    "bvlc": numpy_bvlc,
    "caffenet": numpy_caffenet,
    "paper": numpy_paper,
    "chm145": numpy_chm145,
    "one_gpu": numpy_one_gpu,
    "torchvision": numpy_torchvision,
}


@pytest.fixture(name="torch")
def _torch() -> SimpleNamespace:
    """The layers in PyTorch, of parameters with a leading tower axis."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def conv(x, layer, stride=1, padding=(1, 1), groups=1):
        kernel = torch.tensor(layer["kernel"]).permute(0, 4, 3, 1, 2).flatten(0, 1)
        x = functional.pad(x, padding * 2)
        bias = torch.tensor(layer["bias"]).flatten()
        return functional.conv2d(x, kernel, bias, stride, groups=groups)

    def lrn(x, alpha, towers, k=2):
        # PyTorch divides alpha by the size of the window.
        norm = functools.partial(
            functional.local_response_norm, size=5, alpha=5 * alpha, beta=0.75, k=k
        )
        return torch.cat([norm(maps) for maps in x.chunk(towers, dim=1)], dim=1)

    def same_map_norm(x):
        mean = functional.avg_pool2d(x**2, 5, stride=1, padding=2)
        return x / (1 + 0.001 * mean) ** 0.75

    def dense_layers(p, x, scale=1.0):
        towers, _, units = p["fc6"]["kernel"].shape
        _, maps, height, width = x.shape
        # From tower by tower, each in (height, width, map) order, to (map, height, width).
        kernel = torch.tensor(p["fc6"]["kernel"])
        kernel = kernel.reshape(towers, towers, height, width, maps // towers, units)
        kernel = kernel.permute(0, 5, 1, 4, 2, 3).reshape(towers * units, -1)
        bias = torch.tensor(p["fc6"]["bias"]).flatten()
        x = scale * torch.relu(functional.linear(x.flatten(1), kernel, bias))
        for name in ("fc7", "fc8"):
            kernel = torch.tensor(p[name]["kernel"]).transpose(1, 2).flatten(0, 1)
            x = functional.linear(x, kernel, torch.tensor(p[name]["bias"]).flatten())
            x = scale * torch.relu(x) if name == "fc7" else x
        return x

    return SimpleNamespace(
        tensor=lambda images: torch.tensor(np.moveaxis(images, -1, 1).copy()),
        relu=torch.relu,
        pool=functools.partial(functional.max_pool2d, kernel_size=3, stride=2, ceil_mode=True),
        conv=conv,
        lrn=lrn,
        same_map_norm=same_map_norm,
        dense_layers=dense_layers,
    )


def torch_paper(t, p, x):
    h = t.pool(t.lrn(t.relu(t.conv(x, p["conv1"], 4, (0, 3))), 1e-4, 2))
    h = t.pool(t.lrn(t.relu(t.conv(h, p["conv2"], 1, (2, 2), groups=2)), 1e-4, 2))
    h = t.relu(t.conv(h, p["conv3"]))
    h = t.relu(t.conv(h, p["conv4"], groups=2))
    h = t.pool(t.relu(t.conv(h, p["conv5"], groups=2)))
    return t.dense_layers(p, h, scale=0.5)


def torch_chm145(t, p, x):
    h = t.relu(t.pool(t.lrn(t.conv(x, p["conv1"], 4, (0, 3)), 2e-5, 2)))
    h = t.lrn(t.relu(t.conv(h, p["conv2"], 1, (2, 2), groups=2)), 2e-5, 2)
    h = t.pool(t.same_map_norm(h))
    h = t.relu(t.conv(h, p["conv3"]))
    h = t.relu(t.conv(h, p["conv4"], groups=2))
    h = t.relu(t.pool(t.conv(h, p["conv5"], groups=2)))
    return t.dense_layers(p, h, scale=0.5)


def torch_one_gpu(t, p, x):
    h = t.pool(t.lrn(t.relu(t.conv(x, p["conv1"], 4, (0, 3))), 1e-4, 1))
    h = t.pool(t.lrn(t.relu(t.conv(h, p["conv2"], 1, (2, 2))), 1e-4, 1))
    for name in ("conv3", "conv4", "conv5"):
        h = t.relu(t.conv(h, p[name]))
    return t.dense_layers(p, t.pool(h), scale=0.5)


def torch_torchvision(t, p, x):
    h = t.pool(t.relu(t.conv(x / 58, p["conv1"], 4, (2, 2))))
    h = t.pool(t.relu(t.conv(h, p["conv2"], 1, (2, 2))))
    for name in ("conv3", "conv4", "conv5"):
        h = t.relu(t.conv(h, p[name]))
    return t.dense_layers(p, t.pool(h))


def torch_caffe(t, p, x, pool_and_norm):
    h = pool_and_norm(t.relu(t.conv(x, p["conv1"], 4, (0, 0))))
    h = pool_and_norm(t.relu(t.conv(h, p["conv2"], 1, (2, 2), groups=2)))
    h = t.relu(t.conv(h, p["conv3"]))
    h = t.relu(t.conv(h, p["conv4"], groups=2))
    return t.dense_layers(p, t.pool(t.relu(t.conv(h, p["conv5"], groups=2))))


def torch_bvlc(t, p, x):
    return torch_caffe(t, p, x, lambda h: t.pool(t.lrn(h, 2e-5, 1, k=1)))


def torch_caffenet(t, p, x):
    return torch_caffe(t, p, x, lambda h: t.lrn(t.pool(h), 2e-5, 1, k=1))


TORCH = {
    "bvlc": torch_bvlc,
    "caffenet": torch_caffenet,
    "paper": torch_paper,
    "chm145": torch_chm145,
    "one_gpu": torch_one_gpu,
    "torchvision": torch_torchvision,
}


@functools.cache
def network_and_logits(preset: str) -> tuple[dict, np.ndarray, np.ndarray]:
    architecture = miniature.shrunk(PRESETS[preset])
    model = miniature.network(architecture, num_classes=8)
    images = miniature.images_for(architecture)
    return miniature.params_of(model), images, np.asarray(nnx.jit(model)(images))


def assert_same_logits(logits, expected) -> None:
    spread = np.ptp(expected)
    assert spread > 1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * spread)


@pytest.mark.parametrize("preset", PRESETS)
def test_logits_of_a_small_network_equal_numpys(preset):
    params, images, logits = network_and_logits(preset)
    assert_same_logits(logits, NUMPY[preset](params, images.astype(np.float64)))


@pytest.mark.parametrize("preset", PRESETS)
def test_logits_of_a_small_network_equal_pytorchs(preset, torch):
    params, images, logits = network_and_logits(preset)
    assert_same_logits(logits, TORCH[preset](torch, params, torch.tensor(images)).numpy())


@pytest.mark.slow
def test_logits_of_the_papers_network_equal_pytorchs(torch):
    model = miniature.network(PAPER, num_classes=1000)
    images = miniature.images_for(PAPER, count=1)
    logits = nnx.jit(model)(images)
    assert logits.shape == (1, 1000)
    assert_same_logits(
        logits, torch_paper(torch, miniature.params_of(model), torch.tensor(images)).numpy()
    )
