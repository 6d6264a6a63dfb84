"""One image: from any file to the pixels that the network gets a crop of."""

import io
import os
import warnings
from typing import BinaryIO

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow's warnings, of a damaged EXIF block for example, do not concern the pixels. Set for good,
# since `warnings.catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module="PIL")

RawImage = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray
"""A path, a file's content, an open file, or pixels: uint8 (H, W) or (H, W, 3), 0…255."""


class UnreadableImage(ValueError):
    """The image cannot be read; the message is the reason in a few words."""


def read(original: RawImage) -> Image.Image:
    """Reads an image of any kind as RGB, upright and opaque.

    16-bit gray is scaled to 8 bits, transparency becomes white, EXIF orientation is applied.

    Raises:
      UnreadableImage: the file is missing, empty, truncated, broken, not an image, or too large for
        the memory (Pillow's limit, 179 million pixels).
    """
    if isinstance(original, np.ndarray):
        return _to_rgb(Image.fromarray(original))
    try:
        with Image.open(io.BytesIO(original) if isinstance(original, bytes) else original) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadableImage("not an image of a known format") from None
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error
    # On a broken file, Pillow's decoders raise SyntaxError, struct.error, EOFError and more.
    except Exception as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # gray of 16 or 32 bits, which `convert` would clip at 255
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

    Averages over areas to shrink and interpolates cubically to enlarge, with OpenCV, as the authors
    did (cuda-convnet2, `make-data`). The aspect ratio stays.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = np.asarray(image.crop((left, top, left + side, top + side)))
    interpolation = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return cv2.resize(square, (size, size), interpolation=interpolation)


def encoding(size: int) -> str:
    """The format of images of size × size: "png" for small ones, where JPEG loses much detail."""
    return "png" if size < 64 else "jpeg"


def encode(pixels: np.ndarray) -> bytes:
    """PNG or JPEG of uint8 (size, size, 3); a 256x256 photograph takes 34 kB as JPEG."""
    if encoding(len(pixels)) == "png":
        return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    return simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling="420")


def decode(encoded: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Decodes what `encode` returned: uint8 (H, W, 3), in `out` if given. Releases the GIL."""
    if encoded.startswith(b"\x89PNG"):
        bgr = np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=out)
    return simplejpeg.decode_jpeg(encoded, buffer=out)


def prepare(original: RawImage, size: int) -> bytes:
    """Reads, resizes and encodes an image for the data set; raises UnreadableImage as `read` does.

    Prediction prepares its files in the same way, so its pixels equal evaluation's to the bit.
    """
    return encode(resize(read(original), size))
