"""Images in the page, as data URLs, so that the page needs no other file."""

import base64

import cv2
import numpy as np

LARGEST = 128  # pixels of a side, of those that are shown small


def png(pixels: np.ndarray) -> str:
    """The data URL of uint8 (H, W, 3 or 4) as PNG."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    return _data_url("png", cv2.imencode(".png", cv2.cvtColor(pixels, order))[1])


def photo(pixels: np.ndarray) -> str:
    """The data URL of an example, uint8 (S, S, 3), no larger than the page shows it."""
    if len(pixels) > LARGEST:
        pixels = cv2.resize(pixels, (LARGEST, LARGEST), interpolation=cv2.INTER_AREA)
    if len(pixels) < 64:
        return png(pixels)
    bgr, quality = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
    return _data_url("jpeg", cv2.imencode(".jpg", bgr, quality)[1])


def mosaic(tiles: np.ndarray, columns: int, scale: int, gap: int) -> np.ndarray:
    """Tiles uint8 (N, H, W, 3) row by row as RGBA, pixels `scale` large, gaps transparent."""
    rows = -(-len(tiles) // columns)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = tiles.shape[1] + gap, tiles.shape[2] + gap
    image = np.zeros((rows * height - gap, columns * width - gap, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        cell = image[top : top + len(tile), left : left + len(tile[0])]
        cell[..., :3], cell[..., 3] = tile, 255
    return image


def _data_url(kind: str, encoded: np.ndarray) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
