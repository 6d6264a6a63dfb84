"""Images of more than 8 bits: scaled from the range that they declare, or refused."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from src.data import images
from tests.support.image_content import encoded, pixels


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_is_scaled_and_not_clipped(kind):
    gray = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(
        pixels(encoded(Image.fromarray(gray), kind))[..., 0], np.arange(256).reshape(16, 16)
    )


def tiff(values: np.ndarray, sample_format: int = 1, **tags: int | float) -> bytes:
    """An uncompressed TIFF of gray (1, N), with numbers of further tags."""
    _, width = values.shape
    fields = {256: width, 257: 1, 258: values.itemsize * 8, 259: 1, 262: 1, 273: 8, 277: 1}
    fields |= {278: 1, 279: values.nbytes, 339: sample_format}
    fields |= {int(name[1:]): value for name, value in tags.items()}
    start = 8 + values.nbytes
    entries = b""
    for number, value in sorted(fields.items()):
        kind, code = (11, "f") if isinstance(value, float) else (9, "i") if value < 0 else (4, "I")
        entries += struct.pack(f"<HHI{code}", number, kind, 1, value)
    header = b"II*\0" + struct.pack("<I", start)
    return header + values.tobytes() + struct.pack("<H", len(fields)) + entries + bytes(4)


SIGNED, FLOAT = 2, 3  # TIFF's sample formats
SIGNED_16 = np.array([[-1000, 5, 1000]], np.int16)
UNSIGNED_32 = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
REAL = np.array([[0, 0.503, 1]], np.float32)
BITS_12 = np.array([[0, 2048, 4095]], np.uint16)
COLOR_12 = BITS_12.repeat(3, axis=1)


def uniform(value: int, channels: int, kind: str) -> bytes:
    """An image of 16 bits, of one value."""
    return cv2.imencode(kind, np.full((32, 32, channels), value, np.uint16))[1].tobytes()


def jpeg2000(values: np.ndarray, bits: int) -> bytes:
    """Lossless, and declares a number of bits: fewer than 16 move the middle, which is stored."""
    values = values + np.uint16(2**15 - 2 ** (bits - 1))
    header, marker, rest = encoded(Image.fromarray(values), "JPEG2000").partition(
        b"\xff\x4f\xff\x51"
    )
    return header + marker + rest[:38] + bytes([bits - 1]) + rest[39:]


@pytest.mark.parametrize(
    ("data", "gray"),
    [
        (tiff(SIGNED_16, SIGNED, t340=-1000, t341=1000), [0, 128, 255]),
        (tiff(REAL, FLOAT, t340=0.0, t341=1.0), [0, 128, 255]),
        (tiff(np.array([[0, 500, 1000]], np.int32), SIGNED, t340=0, t341=1000), [0, 128, 255]),
        (tiff(BITS_12, t280=0, t281=4095), [0, 128, 255]),
        (tiff(COLOR_12, t256=3, t262=2, t277=3, t280=0, t281=65535), [0, 8, 15]),
        (tiff(np.array([[0, 32896, 65535]], np.uint16), t262=0), [255, 127, 0]),
        (tiff(np.array([[0x00, 0x08, 0x00, 0xFF, 0xF0]], np.uint8), t256=3, t258=12), None),
        (b"P5 3 1 4095\n" + BITS_12.astype(">u2").tobytes(), [0, 128, 255]),
        (jpeg2000(BITS_12, 12), [0, 128, 255]),
        (jpeg2000(BITS_12 // 16, 12), [0, 8, 16]),
        (b"P5 3 1 65535\n" + np.array([0, 128, 257], ">u2").tobytes(), [0, 0, 1]),
    ],
    ids=[
        "signed",
        "float",
        "32-bit",
        "12-bit",
        "dark-color",
        "negative",
        "packed",
        "maximum",
        "jpeg2000",
        "dark-jpeg2000",
        "dark-pgm",
    ],
)
def test_declared_range_scales_deep_gray(data, gray):
    expected = [0, 128, 255] if gray is None else gray
    assert pixels(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (tiff(SIGNED_16, SIGNED), "does not declare .*: -1000 to 1000"),
        (tiff(UNSIGNED_32), "does not declare"),
        (tiff(UNSIGNED_32, t280=0, t281=2**31 - 1), "has values from -2.*e\\+09 .* declares 0 to"),
        (tiff(REAL, FLOAT), "does not declare .*: 0 to 1"),
        (tiff(np.array([[np.nan, 1]], np.float32), FLOAT, t340=0.0, t341=1.0), "from nan to nan"),
        (b"Pf 3 1 -1.0\n" + REAL.tobytes(), "does not declare"),
        (tiff(BITS_12), "at most 12 of 16 bits"),
        (encoded(Image.fromarray(BITS_12)), "at most 12 of 16 bits"),
        (uniform(4095, 3, ".png"), "at most 12 of 16 bits"),
        (uniform(4095, 3, ".jp2"), "at most 12 of 16 bits"),
        (jpeg2000(BITS_12, 16), "at most 12 of 16 bits"),
        (REAL, "does not declare"),
        (SIGNED_16, "does not declare"),
        (REAL[..., None].repeat(3, axis=2), "data type"),
    ],
    ids=[
        "signed",
        "32-bit",
        "large-32-bit",
        "float",
        "nan",
        "float-pgm",
        "12-bit-tiff",
        "12-bit-png",
        "12-bit-color",
        "12-bit-color-jpeg2000",
        "12-bit-jpeg2000",
        "float-pixels",
        "signed-pixels",
        "float-color-pixels",
    ],
)
def test_deep_image_without_a_declared_range_is_an_error(original, reason):
    with pytest.raises(images.UnreadableImage, match=reason) as raised:
        pixels(original)
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [".png", ".tiff", ".jp2"])
def test_image_whose_bits_are_unknown_is_an_error(channels, kind):
    for bits in (9, 13, 14, 15):
        with pytest.raises(images.UnreadableImage, match=f"uses at most {bits} of 16 bits, and"):
            pixels(uniform(2**bits - 1, channels, kind))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_half_of_the_range_needs_all_bits(channels, kind):
    assert np.unique(pixels(uniform(2**15, channels, kind))).tolist() == [128]


def test_16_bit_color_is_scaled():
    color = np.array([[[0, 0x1234, 0xFFFF]]], np.uint16)
    data = cv2.imencode(".png", color[..., ::-1])[1].tobytes()
    assert pixels(data).tolist() == [[[0, 0x12, 255]]]
