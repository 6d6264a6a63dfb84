import numpy as np

from src.report import images

RANDOM = np.random.default_rng(0)


def test_a_mosaic_has_each_tile_in_its_place():
    tiles = RANDOM.integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    whole = images.mosaic(tiles, columns=3, scale=2, gap=1)
    assert whole.shape == (9, 20, 4)
    np.testing.assert_array_equal(whole[5:9:2, 7:13:2, :3], tiles[4])
    assert (whole[4, :, 3] == 0).all()
    assert (whole[5:9, 14:, 3] == 0).all()
