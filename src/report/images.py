"""Images as data URLs, so that the page needs no other file."""

import base64

import cv2
import numpy as np

MAX_SIDE = 128  # pixels of a photo's side


def png(pixels: np.ndarray) -> str:
    """The data URL of uint8 (H, W, 3 or 4) as PNG."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    return _data_url("png", cv2.imencode(".png", cv2.cvtColor(pixels, order))[1])


def photo(pixels: np.ndarray) -> str:
    """The data URL of an example, uint8 (S, S, 3), scaled down to MAX_SIDE."""
    if len(pixels) > MAX_SIDE:
        pixels = cv2.resize(pixels, (MAX_SIDE, MAX_SIDE), interpolation=cv2.INTER_AREA)
    if len(pixels) < 64:
        return png(pixels)
    bgr, quality = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
    return _data_url("jpeg", cv2.imencode(".jpg", bgr, quality)[1])


def _data_url(kind: str, encoded: np.ndarray) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
