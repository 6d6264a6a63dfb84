"""One image: from any file to the pixels that the network is given a crop of."""

import io
import os
import warnings
from typing import BinaryIO

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

# What Pillow warns of (a damaged EXIF block, say) does not concern the pixels. Set once, since
# `warnings.catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module="PIL")

RawImage = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray
"""An image as it came: a path, a file's content or the open file, or uint8 (H, W) or (H, W, 3)."""


class UnreadableImage(ValueError):
    """What was to be an image is none; the message says why in a few words."""


def read(original: RawImage) -> Image.Image:
    """Reads an image of whatever kind as RGB, upright and opaque.

    16-bit gray is scaled to 8 bits, transparency is laid on white, EXIF orientation is applied.

    Raises:
      UnreadableImage: it is missing, empty, truncated, broken, not an image, or so large (Pillow's
        limit, 179 million pixels) that reading it would exhaust the memory.
    """
    if isinstance(original, np.ndarray):
        return _to_rgb(Image.fromarray(original))
    try:
        with Image.open(io.BytesIO(original) if isinstance(original, bytes) else original) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadableImage("not an image of a known kind") from None
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error
    # On a broken file Pillow's decoders raise nearly anything: SyntaxError, struct.error, EOFError…
    except Exception as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # gray of more than 8 bits, which `convert` would clip at 255
        gray = np.asarray(image)
        if image.mode != "I" or gray.max() > 255:  # some 32-bit files hold 0…255
            gray = gray / 257
        return Image.fromarray(gray.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def resize(image: Image.Image, size: int) -> np.ndarray:
    """Scales the short side to `size` and keeps the center: uint8 (size, size, 3).

    Averages over areas when shrinking and interpolates cubically when enlarging, with OpenCV, as
    the authors did (cuda-convnet2, `make-data`). Nothing is squashed.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = np.asarray(image.crop((left, top, left + side, top + side)))
    interpolation = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=interpolation)


def encoding(size: int) -> str:
    """How images of size × size are kept: "png" where JPEG's loss would show and saves little."""
    return "png" if size < 64 else "jpeg"


def encode(pixels: np.ndarray) -> bytes:
    """PNG or JPEG of uint8 (size, size, 3); a 256x256 photograph takes 34 kB as JPEG."""
    if encoding(len(pixels)) == "png":
        return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    return simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling="420")


def decode(encoded: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """The uint8 (H, W, 3) pixels of what `encode` made; into `out`, if given. Releases the GIL."""
    if encoded.startswith(b"\x89PNG"):
        bgr = np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
        into = np.empty_like(bgr) if out is None else out
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=into)
    return simplejpeg.decode_jpeg(encoded, buffer=out)


def prepare(original: RawImage, size: int) -> bytes:
    """What the data set keeps of an image, whose decoded pixels the network sees.

    Prediction takes a file through this too, so it sees what evaluation sees, to the bit.

    Raises:
      UnreadableImage: see `read`.
    """
    return encode(resize(read(original), size))
