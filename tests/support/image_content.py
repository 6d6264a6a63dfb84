"""Images as the content of files, and as the pixels that are read from them."""

import io

import numpy as np
from PIL import Image

from src.data import images


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(original: images.RawImage) -> np.ndarray:
    with images.read(original) as image:
        assert image.mode == "RGB"
        return np.asarray(image)
