import numpy as np

from src.report import images

RANDOM = np.random.default_rng(0)


def test_mosaic_puts_tiles_in_rows_with_transparent_gaps():
    tiles = RANDOM.integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    image = images.mosaic(tiles, columns=3, scale=2, gap=1)
    assert image.shape == (9, 20, 4)
    np.testing.assert_array_equal(image[5:9:2, 7:13:2, :3], tiles[4])
    assert (image[4, :, 3] == 0).all()
    assert (image[5:9, 14:, 3] == 0).all()
