"""Crops, mean subtraction, color noise and evaluation views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from src.data.augment import color_noise, subtract_mean, view
from src.data.crops import draw_crops, evaluation_views

RANDOM = np.random.default_rng(0)
# The deviations and directions of ImageNet's colors (cuda-convnet2).
DEVIATIONS = np.array([121.780061, 37.093889, 19.720833], np.float32)
DIRECTIONS = np.array(
    [
        [-0.563510, -0.712579, 0.417955],
        [-0.576184, -0.023542, -0.816981],
        [-0.592003, 0.701196, 0.397311],
    ],
    np.float32,
)


def views(images, mean, *, crop: int, count: int, form: str) -> np.ndarray:
    crops = zip(*evaluation_views(count, mean.shape[0] - crop), strict=True)
    return np.stack([view(images, mean, *c, crop=crop, form=form) for c in crops], axis=1)


def draw(step: int = 0, **changes) -> tuple[np.ndarray, np.ndarray]:
    settings = {"seed": 0, "count": 128, "margin": 32, "images_per_crop": 1}
    settings |= {"shift": True, "mirror": True} | changes
    seed, count, margin = (settings.pop(name) for name in ("seed", "count", "margin"))
    return draw_crops((seed, step), ConfigDict(settings), count=count, margin=margin)


def test_crops_are_uniform_and_half_of_them_mirrored():
    offsets, flips = map(np.concatenate, zip(*map(draw, range(400)), strict=True))
    for axis in (0, 1):
        counts = np.bincount(offsets[:, axis], minlength=33)
        assert len(counts) == 33  # 0…32, both ends included
        expected = len(offsets) / 33
        assert ((counts - expected) ** 2 / expected).sum() < 70  # chi², 32 degrees: 1 in 10,000
    assert abs(flips.mean() - 0.5) < 4 * 0.5 / len(flips) ** 0.5
    # Row, column and flip are not correlated.
    correlations = np.corrcoef(np.column_stack([offsets, flips]), rowvar=False)
    np.testing.assert_allclose(correlations, np.eye(3), atol=4 / len(flips) ** 0.5)


def test_crops_depend_on_seed_and_step_alone():
    for one, other in zip(draw(7), draw(7), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (draw(7)[0] != draw(8)[0]).any()
    assert (draw(7)[0] != draw(7, seed=1)[0]).any()


def test_mirroring_does_not_change_offsets():
    offsets, flips = draw(mirror=False)
    assert not flips.any()
    np.testing.assert_array_equal(offsets, draw()[0])


def test_crops_without_shift_are_the_center():
    offsets, flips = draw(shift=False, margin=9)
    assert (offsets == 4).all()
    np.testing.assert_array_equal(flips, draw(margin=9)[1])


def test_consecutive_images_share_a_crop():
    offsets, flips = draw(count=80, images_per_crop=32)
    assert len(offsets) == len(flips) == 80
    for run in (slice(0, 32), slice(32, 64), slice(64, 80)):
        assert len(np.unique(offsets[run], axis=0)) == len(np.unique(flips[run])) == 1
    assert len(np.unique(offsets, axis=0)) == 3


def cut(image: np.ndarray, offset: np.ndarray, flip: bool, crop: int) -> np.ndarray:
    top, left = offset
    part = image[top : top + crop, left : left + crop]
    return np.fliplr(part) if flip else part


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images 12 pixels wide, their mean, and crops 8 pixels wide with their offsets and flips."""
    images = RANDOM.integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    mean = RANDOM.uniform(0, 255, (12, 12, 3)).astype(np.float32)
    offsets = np.array([[0, 0], [4, 4], [0, 4], [1, 3], [2, 2]], np.int32)
    flips = np.array([False, True, False, True, False])
    crops = np.stack(list(map(cut, images, offsets, flips, [8] * 5)))
    return images, mean, crops, offsets, flips


def test_aligned_mean_is_cropped_and_mirrored_as_the_image(batch):
    images, mean, crops, offsets, flips = batch
    result = jax.jit(subtract_mean, static_argnums=4)(crops, mean, offsets, flips, "aligned")
    assert result.dtype == jnp.float32
    expected = list(map(cut, images - mean, offsets, flips, [8] * 5))
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_center_mean_is_the_same_for_all_crops(batch):
    _, mean, crops, offsets, flips = batch
    result = jax.jit(subtract_mean, static_argnums=4)(crops, mean, offsets, flips, "center")
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, crops - mean[2:10, 2:10], atol=1e-4)


def noise(form: str, images: np.ndarray, seed: int = 0) -> np.ndarray:
    keys = jax.random.split(jax.random.key(seed), len(images))
    changed = jax.jit(color_noise, static_argnums=4)(images, keys, DEVIATIONS, DIRECTIONS, form)
    return np.asarray(changed)


@pytest.mark.parametrize(
    ("form", "divided_by", "scales"),
    [
        ("deviations", 1.1, 0.1 * DEVIATIONS),
        ("eigenvalues", 1, 255 * 0.1 * (DEVIATIONS / 255) ** 2),
    ],
)
def test_color_noise_has_the_expected_mean_and_covariance(form, divided_by, scales):
    covariance = DIRECTIONS * scales**2 @ DIRECTIONS.T
    images = np.tile(RANDOM.uniform(-100, 100, (2, 2, 3)).astype(np.float32), (50_000, 1, 1, 1))
    added = noise(form, images) * divided_by - images
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-4)
    added = added[:, 0, 0]
    np.testing.assert_allclose(added.mean(0), 0, atol=4 * added.std() / len(added) ** 0.5)
    np.testing.assert_allclose(
        np.cov(added, rowvar=False), covariance, atol=0.03 * covariance.max()
    )


def test_color_noise_is_as_large_as_published():
    images = np.zeros((50_000, 1, 1, 3), np.float32)
    for form, deviation in (("deviations", 12.178 / 1.1), ("eigenvalues", 25.5 * 0.2281)):
        first_component = noise(form, images)[:, 0, 0] @ DIRECTIONS[:, 0]
        np.testing.assert_allclose(first_component.std(), deviation, rtol=0.02)


def test_color_noise_depends_on_the_image_and_not_on_the_batch():
    images = np.zeros((6, 1, 1, 3), np.float32)
    keys = jax.random.split(jax.random.key(0), 6)
    noisy = color_noise(images, keys, DEVIATIONS, DIRECTIONS, "deviations")
    part = color_noise(images[4:], keys[4:], DEVIATIONS, DIRECTIONS, "deviations")
    np.testing.assert_allclose(noisy[4:], part, rtol=1e-5)
    assert len(np.unique(np.asarray(noisy)[:, 0, 0, 0])) == 6


def test_color_form_none_changes_nothing():
    images = RANDOM.uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(noise("none", images), images)


def test_one_view_is_the_center(batch):
    images, mean, *_ = batch
    for form in ("aligned", "center"):
        result = views(jnp.array(images), jnp.array(mean), crop=8, count=1, form=form)
        np.testing.assert_allclose(result, (images - mean)[:, None, 2:10, 2:10], atol=1e-4)


@pytest.mark.parametrize("form", ["aligned", "center"])
def test_ten_views_are_corners_and_center_with_mirror_images(batch, form):
    images, mean, *_ = batch
    result = views(jnp.array(images), jnp.array(mean), crop=8, count=10, form=form)
    corners_and_center = [(0, 0), (0, 4), (2, 2), (4, 0), (4, 4)]
    expected = [
        [
            cut(image.astype(np.float32), offset, flip, 8)
            - (cut(mean, offset, flip, 8) if form == "aligned" else mean[2:10, 2:10])
            for flip in (False, True)
            for offset in corners_and_center
        ]
        for image in images
    ]
    assert result.shape == (5, 10, 8, 8, 3)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_training_and_evaluation_subtract_the_same_mean(batch):
    images, mean, *_ = batch
    center = np.full((5, 2), 2, np.int32)
    for form in ("aligned", "center"):
        trained = subtract_mean(
            jnp.array(images[:, 2:10, 2:10]), jnp.array(mean), center, np.zeros(5, bool), form
        )
        evaluated = views(jnp.array(images), jnp.array(mean), crop=8, count=1, form=form)
        np.testing.assert_array_equal(trained, evaluated[:, 0])
