"""Images in the page: as data, so that it needs no other file."""

import base64

import cv2
import numpy as np

LARGEST = 128  # pixels of a side, of those that are shown small


def png(pixels: np.ndarray) -> str:
    """The address of uint8 (H, W, 3 or 4) as PNG."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    return _address("png", cv2.imencode(".png", cv2.cvtColor(pixels, order))[1])


def photo(pixels: np.ndarray) -> str:
    """The address of an example, uint8 (S, S, 3), no larger than it will be shown."""
    if len(pixels) > LARGEST:
        pixels = cv2.resize(pixels, (LARGEST, LARGEST), interpolation=cv2.INTER_AREA)
    if len(pixels) < 64:
        return png(pixels)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    return _address(
        "jpeg", cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)[1]
    )


def mosaic(tiles: np.ndarray, columns: int, scale: int, gap: int) -> np.ndarray:
    """Tiles uint8 (N, H, W, 3) row by row, each pixel `scale` large, as RGBA with clear gaps."""
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    down, along = height * scale + gap, width * scale + gap
    whole = np.zeros((rows * down - gap, columns * along - gap, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * down, number % columns * along
        whole[top : top + len(tile), left : left + len(tile[0]), :3] = tile
        whole[top : top + len(tile), left : left + len(tile[0]), 3] = 255
    return whole


def _address(kind: str, encoded: np.ndarray) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
