"""Reading, resizing, encoding and decoding of one image."""

import contextlib
import io
import queue
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data import images
from tests.support.image_content import encoded, pixels

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # as in `images`
RANDOM = np.random.default_rng(0)


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth image, which JPEG hardly changes."""
    coarse = RANDOM.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def test_all_kinds_of_raw_images_give_the_same_pixels(tmp_path):
    rgb = photograph(20, 30)
    path = tmp_path / "image.png"
    path.write_bytes(encoded(Image.fromarray(rgb)))
    for original in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), rgb):
        np.testing.assert_array_equal(pixels(original), rgb)


def test_gray_becomes_rgb():
    gray = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
    expected = np.stack([gray] * 3, axis=-1)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(gray))), expected)
    np.testing.assert_array_equal(pixels(gray), expected)


def test_avif_is_read():
    rgb = np.full((16, 24, 3), (200, 30, 90), np.uint8)
    np.testing.assert_allclose(pixels(encoded(Image.fromarray(rgb), "AVIF")), rgb, atol=3)


def test_heic_is_read():
    pytest.importorskip("pillow_heif", reason="an extra")
    rgb = np.full((64, 48, 3), (200, 30, 90), np.uint8)
    np.testing.assert_allclose(pixels(encoded(Image.fromarray(rgb), "HEIF")), rgb, atol=3)


HEIC_HEADER = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf\0\0\1}meta"


def test_heic_without_the_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    path = tmp_path / "photo.heic"
    path.write_bytes(HEIC_HEADER)
    for original in (path, str(path), HEIC_HEADER, io.BytesIO(HEIC_HEADER)):
        with pytest.raises(images.UnreadableImage, match=r"pip install -e '\.\[heic\]'"):
            pixels(original)


def test_pixel_budget_lets_images_wait_for_room():
    budget = images.PixelBudget(10)
    done = queue.SimpleQueue()

    def use(pixels: int) -> None:
        with budget.reserve(pixels):
            done.put(pixels)

    with ThreadPoolExecutor(2) as pool:
        with budget.reserve(6):
            waiting = pool.submit(use, 5)
            use(4)
            assert done.get() == 4
            assert not waiting.done()
        assert done.get(timeout=60) == 5
        use(11)  # an image above the limit is alone, but not refused
        assert done.get() == 11


def test_reading_and_resizing_stay_within_the_pixel_budget(monkeypatch):
    resize, reserved, resized = images.resize, [], []

    class Watched(images.PixelBudget):
        @contextlib.contextmanager
        def reserve(self, pixels):
            with super().reserve(pixels):
                reserved.append(pixels)
                yield
                reserved.remove(pixels)

    def resize_watched(image, size):
        resized.append(list(reserved))
        return resize(image, size)

    monkeypatch.setattr(images, "_budget", Watched(1))
    monkeypatch.setattr(images, "resize", resize_watched)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: images.prepare(PNG, 32), range(8)))) == 1
    assert resized == [[64 * 64]] * 8


def test_cmyk_jpeg_becomes_rgb():
    rgb = np.full((16, 16, 3), (250, 120, 10), np.uint8)
    data = encoded(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=100)
    np.testing.assert_allclose(pixels(data), rgb, atol=3)


def test_dark_bitmap_of_16_bits_a_pixel_is_read():
    masks = 0xF800, 0x07E0, 0x001F  # of red, green and blue
    dark = struct.pack("<4H", 0x0861, 0x0000, 0x0020, 0x0001)
    fields = 40, 4, 1, 1, 16, 3, len(dark), 0, 0, 0, 0, *masks  # 3: with masks
    start = 14 + struct.calcsize("<IiiHH9I")
    header = b"BM" + struct.pack("<IIIIiiHH9I", start + len(dark), 0, start, *fields)
    assert pixels(header + dark).tolist() == [[[8, 12, 8], [0, 0, 0], [0, 4, 0], [0, 0, 8]]]


def test_palette_becomes_rgb():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image)).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_transparent_pixels_become_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert pixels(encoded(palette, transparency=0)).tolist() == [[[255] * 3, [0, 0, 255]]]

    half_black = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert pixels(encoded(half_black)).tolist() == [[[127] * 3]]

    gray = Image.new("LA", (1, 1), (0, 0))
    assert pixels(encoded(gray)).tolist() == [[[255] * 3]]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda stored: np.rot90(stored)),
    ],
)
def test_exif_orientation_is_applied(orientation, upright):
    stored = RANDOM.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(stored), exif=exif)
    np.testing.assert_array_equal(pixels(data), upright(stored))


def test_damaged_exif_is_ignored():
    rgb = photograph(16, 16)
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\0broken"
    data = encoded(Image.fromarray(rgb), "JPEG", quality=100, subsampling=0, exif=exif)
    np.testing.assert_allclose(pixels(data), rgb, atol=4)


JPEG = encoded(Image.fromarray(photograph(256, 256)), "JPEG")
PNG = encoded(Image.fromarray(photograph(64, 64)))
GIF = encoded(Image.new("P", (4, 4)), "GIF")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"classes,labels\n1,2\n", "not an image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (JPEG[:10], "Truncated"),
        (PNG[:50] + bytes(100) + PNG[150:], "broken"),
        (GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], "DecompressionBomb"),
    ],
    ids=["empty", "text", "truncated-jpeg", "truncated-png", "header", "broken-png", "bomb"],
)
def test_unreadable_content_is_an_error(data, reason):
    with pytest.raises(images.UnreadableImage, match=reason) as raised:
        pixels(data)
    assert 5 < len(str(raised.value)) < 150
    assert "\n" not in str(raised.value)


def test_unreadable_path_is_an_error(tmp_path):
    with pytest.raises(images.UnreadableImage, match="No such file"):
        pixels(tmp_path / "missing.jpg")
    with pytest.raises(images.UnreadableImage, match="directory"):
        pixels(tmp_path)


def area_average(square: np.ndarray, size: int) -> np.ndarray:
    """The definition: each new pixel averages the old ones, weighted by their overlap."""
    side = len(square)
    edges = np.arange(size + 1) * side / size
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(side)
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return np.einsum("ij,jkc,lk->ilc", overlap, square, overlap) * (size / side) ** 2


@pytest.mark.parametrize(("height", "width"), [(60, 90), (91, 60), (70, 70), (33, 32), (256, 255)])
def test_shrinking_averages_areas_of_the_central_square(height, width):
    image = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    expected = area_average(image[top : top + side, left : left + side], 32)
    np.testing.assert_allclose(images.resize(Image.fromarray(image), 32), expected, atol=0.51)


def test_enlarging_is_cubic():
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], (16, 1, 3))
    large = images.resize(Image.fromarray(ramp), 64)
    assert large.shape == (64, 64, 3)
    expected = (np.arange(64) + 0.5) / 4 * 10 - 5  # nearest neighbors would be off by 3.75
    np.testing.assert_allclose(large[32, 8:56, 0], expected[8:56], atol=1)
    # Cubic interpolation overshoots at an edge, linear interpolation does not.
    edge = np.tile(np.repeat(np.array([50, 200], np.uint8), 8)[None, :, None], (16, 1, 3))
    assert images.resize(Image.fromarray(edge), 64).max() > 200


@pytest.mark.parametrize("shape", [(40, 120), (120, 40)])
def test_resizing_keeps_the_aspect_ratio(shape):
    circle = np.zeros((*shape, 3), np.uint8)
    y, x = np.indices(shape)
    circle[(y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < 15**2] = 255
    small = images.resize(Image.fromarray(circle), 20)[..., 0] > 127
    assert small.any(0).sum() == small.any(1).sum() == 15


def test_resizing_to_the_same_size_changes_nothing():
    image = photograph(24, 24)
    np.testing.assert_array_equal(images.resize(Image.fromarray(image), 24), image)


def test_encoding_changes_little():
    image = photograph(256, 256)
    decoded = images.decode(images.encode(image))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - image).mean() < 2


def test_decoding_writes_into_a_given_array():
    jpegs = [images.encode(photograph(24, 24)) for _ in range(3)]
    out = np.zeros((3, 24, 24, 3), np.uint8)
    for target, jpeg in zip(out, jpegs, strict=True):
        images.decode(jpeg, target)
    np.testing.assert_array_equal(out, [images.decode(jpeg) for jpeg in jpegs])


def test_preparing_real_photographs_changes_little():
    folder = Path(__file__).parents[3].parent / "shared" / "data" / "imagenet_samples"
    files = sorted(folder.glob("*/*"))[:20]
    if not files:
        pytest.skip("the sample photographs are missing")
    for file in files:
        prepared = images.decode(images.prepare(file, 256))
        resized = images.resize(Image.fromarray(pixels(file)), 256)
        assert np.abs(prepared.astype(int) - resized).mean() < 6


@pytest.mark.parametrize("size", [32, 63])
def test_small_images_are_stored_without_loss(size):
    rgb = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    stored = images.prepare(rgb, size)
    np.testing.assert_array_equal(images.decode(stored), rgb)
    out = np.empty_like(rgb)
    images.decode(stored, out)
    np.testing.assert_array_equal(out, rgb)


def test_error_of_the_program_does_not_make_an_image_unreadable():
    with pytest.raises(TypeError):
        images.prepare(photograph(9, 9), "large")
