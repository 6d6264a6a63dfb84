"""Pictures of kernels and of a confusion matrix."""

import jax.numpy as jnp
import numpy as np

from src.writers.pictures import (
    COLUMNS,
    RIGHT,
    draw_confusion,
    draw_kernels,
    draw_pictures,
    mosaic,
)


def test_kernels_are_in_rows_with_zero_gray_and_the_largest_weight_white() -> None:
    kernels = np.zeros((2, 36, 36, 3, 9), np.float32)
    kernels[1, :, :, 0, 8] = 0.25  # the last kernel: red, so its other channels are gray
    picture = draw_kernels(kernels)
    assert picture.shape == (2 * 37 - 1, COLUMNS * 37 - 1, 3)
    assert picture[0, 0].tolist() == [128, 128, 128]
    assert picture[37, 37].tolist() == [255, 128, 128]
    assert (picture[37:, 2 * 37 :] == 255).all()  # no kernel


def test_confusions_are_shares_of_the_true_class() -> None:
    counts = np.diag([10, 1000])
    picture = draw_confusion(counts, ["cat", "dog"])
    first, second = picture[-72 + 2, -72 + 2], picture[-2, -2]
    assert first.tolist() == second.tolist() == list(RIGHT)
    assert (picture[-2, -72 + 2] == 255).all()
    counts[1, 0] = 1
    wrong = draw_confusion(counts, ["cat", "dog"])[-2, -72 + 2]
    assert wrong[0] > wrong[1]
    assert wrong[1] < 230  # visible


def test_many_classes_have_no_numbers() -> None:
    picture = draw_confusion(np.eye(50, dtype=int), [str(i) for i in range(50)])
    assert picture.shape[0] == picture.shape[1] >= 720
    assert picture[0, 0].tolist() == list(RIGHT)


def test_locally_connected_layers_and_many_classes_have_no_picture() -> None:
    assert draw_pictures({"conv1": {"kernel": jnp.ones((1, 3, 3, 9, 4))}}, None, ["a"]) == {}


def test_mosaic_puts_tiles_in_rows_with_transparent_gaps() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    image = mosaic(tiles, columns=3, scale=2, gap=1)
    assert image.shape == (9, 20, 4)
    np.testing.assert_array_equal(image[5:9:2, 7:13:2, :3], tiles[4])
    assert (image[4, :, 3] == 0).all()
    assert (image[5:9, 14:, 3] == 0).all()
