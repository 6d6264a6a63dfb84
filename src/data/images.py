"""One image: from any file to the pixels that the network gets a crop of."""

import contextlib
import importlib
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, TiffTags, UnidentifiedImageError

from ..errors import CommandError

# Pillow's warnings, of a damaged EXIF block for example, do not concern the pixels. Set for good,
# since `warnings.catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module="PIL")

# Allocate each image as one block, which is returned to the system; each thread would keep some of
# Pillow's 16 MB blocks.
Image.core.set_block_size(2**29)

with contextlib.suppress(ImportError):  # an extra
    importlib.import_module("pillow_heif").register_heif_opener()

RawImage = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray
"""A path, a file's content, an open file, or pixels: uint8 (H, W) or (H, W, 3), 0…255."""

TIFF_TAGS = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}


class UnreadableImage(ValueError):
    """The image cannot be read; the message is the reason in a few words."""


def refuse_lack_of_memory(name: str, error: UnreadableImage) -> None:
    """Raises CommandError if an image could not be read for lack of memory."""
    if isinstance(error.__cause__, MemoryError):
        raise CommandError(f"{name}: out of memory; run the command again") from error


class PixelBudget:
    """Limits the pixels that all threads have in memory; an image with more is alone in memory."""

    def __init__(self, pixels: int):
        self._pixels, self._used = pixels, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Waits until there is room for an image."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._pixels)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


_budget = PixelBudget(128_000_000)  # a pixel takes up to 12 bytes, so 1.5 GB


@contextlib.contextmanager
def read(original: RawImage) -> Iterator[Image.Image]:
    """Reads an image of any kind as RGB, upright and opaque; the context bounds the memory in use.

    Gray of more than 8 bits is scaled to 8 bits from the range that the file or its type declares,
    transparency becomes white, EXIF orientation is applied.

    Raises:
      UnreadableImage: the file is missing, empty, truncated, broken, not an image, without a known
        range, or too large for the memory (Pillow's limit, 179 million pixels).
    """
    file: Any = io.BytesIO(original) if isinstance(original, bytes) else original
    with contextlib.ExitStack() as stack:
        try:
            opened = Image.fromarray(file) if isinstance(file, np.ndarray) else Image.open(file)
            image = stack.enter_context(opened)
            stack.enter_context(_budget.reserve(image.width * image.height))
            rgb = _to_rgb(image)
        except UnreadableImage:
            raise
        except UnidentifiedImageError:
            raise UnreadableImage(_describe_unknown(file)) from None
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        # On a broken file, Pillow's decoders raise SyntaxError, struct.error, EOFError and more.
        except Exception as error:
            raise UnreadableImage(f"{type(error).__name__}: {error}") from error
        yield rgb


def _describe_unknown(file: str | os.PathLike[str] | BinaryIO) -> str:
    """Why Pillow does not know the format of a file."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as stream:
            return _describe_unknown(stream)
    file.seek(0)
    header = file.read(32)
    # The file type box names the format, and others that the file is compatible with.
    is_phone = header[4:8] == b"ftyp" and any(b in header for b in (b"hei", b"mif1", b"avif"))
    if is_phone and not {"AVIF", "HEIF"} <= Image.OPEN.keys():
        return "HEIC and AVIF need another package: run pip install -e '.[heic]'"
    return "not an image of a known format"


def _to_rgb(image: Image.Image) -> Image.Image:
    declared, is_jpeg2000 = _declared_range(image), image.format == "JPEG2000"
    # Modes such as "RGB;16B" have 16 bits for each channel; "BGR;16" has them for all three.
    loses_bits = is_jpeg2000 or re.search(";16[BLN]", str(getattr(image, "tile", "")))
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":  # which `convert` would clip at 255
        return _to_8_bits(image, declared).convert("RGB")
    if loses_bits and declared != (0.0, 65535.0):  # Pillow keeps the upper 8 of 16 bits
        brightest = np.max(image.convert("RGB").getextrema()) * 256
        _check_uses_16_bits(brightest + (-128 if is_jpeg2000 else 255))  # or rounds to 8 bits
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _declared_range(image: Image.Image) -> tuple[float, float] | None:
    """The values of the darkest and the lightest gray that a file declares."""
    tags = getattr(image, "tag_v2", {})
    for prefix in ("SM", "M"):
        low, high = TIFF_TAGS[f"{prefix}inSampleValue"], TIFF_TAGS[f"{prefix}axSampleValue"]
        if high in tags:
            return float(np.min(tags.get(low, 0))), float(np.max(tags[high]))
    bits = np.min(tags.get(TIFF_TAGS["BitsPerSample"], 16))
    if bits < 16:
        return 0.0, 2.0**bits - 1
    return (0.0, 65535.0) if _is_scaled(image) else None


def _is_scaled(image: Any) -> bool:
    """Whether Pillow scales from the number of bits or the maximum that the file declares."""
    if image.format != "JPEG2000":
        return image.format == "PPM" and image.mode != "F"
    image.fp.seek(0)
    _, _, size_marker = image.fp.read().partition(b"\xff\x4f\xff\x51")
    return int.from_bytes(size_marker[38:39]) & 127 < 15  # the number of bits, less one


def _to_8_bits(image: Image.Image, declared: tuple[float, float] | None) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if declared is None:
        if not image.mode.startswith("I;16") or image.format == "FITS":
            reason = "which of its values are black and white"
            raise UnreadableImage(f"the file does not declare {reason}: {low:g} to {high:g}")
        _check_uses_16_bits(high)
    black, white = declared or (0.0, 65535.0)
    if not black <= low <= high <= white or black == white:  # or not numbers
        has = f"has values from {low:g} to {high:g}"
        raise UnreadableImage(f"{has}, but declares {black:g} to {white:g}")
    gray = np.empty(values.shape, np.uint8)
    for row, out in zip(values, gray, strict=True):  # by rows, for the memory
        out[:] = np.rint((row - black) / ((white - black) / 255))
    is_negative = getattr(image, "tag_v2", {}).get(TIFF_TAGS["PhotometricInterpretation"]) == 0
    return Image.fromarray(255 - gray if is_negative else gray)


def _check_uses_16_bits(brightest: float) -> None:
    """Many files have values of 10 to 15 bits in 16 bits, and do not declare it."""
    if (bits := int(brightest).bit_length()) < 16:
        reason = f"uses at most {bits} of 16 bits, and does not declare its range"
        raise UnreadableImage(f"{reason}; convert it to 8 bits")


def resize(image: Image.Image, size: int) -> np.ndarray:
    """Scales the short side to `size` and keeps the center: uint8 (size, size, 3).

    Averages over areas to shrink and interpolates cubically to enlarge, with OpenCV, as the authors
    did (cuda-convnet2, `make-data`). The aspect ratio stays.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = np.asarray(image)[top : top + side, left : left + side]
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
    if encoded[:4] == b"\x89PNG":
        bgr = np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=out)
    return simplejpeg.decode_jpeg(encoded, buffer=out)


def prepare(original: RawImage, size: int) -> bytes:
    """Reads, resizes and encodes an image for the data set; raises UnreadableImage as `read` does.

    Prediction prepares its files in the same way, so its pixels equal evaluation's to the bit.
    """
    with read(original) as image:
        return encode(resize(image, size))
