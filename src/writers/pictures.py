"""Pictures of a network during training, for its writers."""

from collections.abc import Sequence

import numpy as np
from jax.experimental.multihost_utils import process_allgather
from PIL import Image, ImageDraw, ImageFont

from ..models.factory import Params

COLUMNS = 16  # kernels in a row
CELL = 36  # pixels of a cell with a number
MAX_NAMED = 20  # classes whose names and numbers fit into a confusion matrix
FAINTEST = 0.2  # the strength of a single mistake's color, which stays visible
RIGHT, WRONG = (10, 92, 236), (194, 24, 91)  # colors of a confusion matrix


def draw_pictures(
    params: Params, confusion: np.ndarray | None, class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The kernels of the first layer and the confusion matrix, uint8 (H, W, 3), where they suit.

    All processes must call it, because each may hold only some towers.
    """
    pictures = {}
    name, layer = next(iter(params.items()))
    kernels = process_allgather(layer["kernel"], tiled=True)
    if kernels.shape[3] == 3:  # others are locally connected
        pictures[f"network/{name}_kernels"] = draw_kernels(kernels)
    if confusion is not None:
        pictures["network/confusion"] = draw_confusion(confusion, class_names)
    return pictures


def draw_kernels(kernels: np.ndarray) -> np.ndarray:
    """Kernels (towers, H, W, 3, maps) one beside the other, tower after tower."""
    tiles = np.concatenate([kernel_tiles(tower) for tower in kernels])
    scale = -(-CELL // tiles.shape[1])
    pixels = mosaic(tiles, COLUMNS, scale, gap=scale)
    return np.where(pixels[..., 3:] == 255, pixels[..., :3], np.uint8(255))


def kernel_tiles(kernels: np.ndarray) -> np.ndarray:
    """The kernels (H, W, 3, maps) of a tower as uint8 (maps, H, W, 3); zero is gray."""
    tiles = np.moveaxis(kernels, -1, 0)
    largest = np.abs(tiles).max(axis=(1, 2, 3), keepdims=True)
    return (127.5 + 127.5 * tiles / np.maximum(largest, 1e-30)).round().astype(np.uint8)


def mosaic(tiles: np.ndarray, columns: int, scale: int, gap: int) -> np.ndarray:
    """Arranges tiles uint8 (N, H, W, 3), enlarged by `scale`, in rows; RGBA, gaps transparent."""
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    opaque = np.pad(tiles, [(0, 0), (0, 0), (0, 0), (0, 1)], constant_values=255)
    cells = np.pad(opaque, [(0, -len(tiles) % columns), (0, gap), (0, gap), (0, 0)])
    _, height, width, _ = cells.shape
    grid = cells.reshape(-1, columns, height, width, 4).swapaxes(1, 2)
    image = grid.reshape(-1, columns * width, 4)
    return image[: len(image) - gap, : columns * width - gap]


def draw_confusion(counts: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Counts by true class (row) and predicted class; colors are shares of the true class."""
    size = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_right = np.eye(size, dtype=bool)
    shares = np.where((counts > 0) & ~is_right, FAINTEST + (1 - FAINTEST) * shares, shares)
    colors = np.where(is_right[..., None], RIGHT, WRONG)
    pixels = (255 + shares[..., None] * (colors - 255.0)).round().astype(np.uint8)
    if size > MAX_NAMED:
        scale = -(-720 // size)
        return pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    font = ImageFont.load_default(13)
    margin = 12 + int(max(map(font.getlength, class_names)))
    middles = [CELL * i + CELL // 2 for i in range(size)]
    cells = Image.fromarray(pixels.repeat(CELL, axis=0).repeat(CELL, axis=1))
    rows, columns = (Image.new("RGB", (margin, CELL * size), "white") for _ in range(2))
    for row, name in zip(middles, class_names, strict=True):
        ImageDraw.Draw(rows).text((margin - 6, row), name, "black", font, anchor="rm")
        ImageDraw.Draw(columns).text((6, row), name, "black", font, anchor="lm")
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        place, text = (middles[column], middles[row]), str(counts[row, column])
        ImageDraw.Draw(cells).text(place, text, color, font, anchor="mm")
    picture = Image.new("RGB", (margin + CELL * size,) * 2, "white")
    picture.paste(cells, (margin, margin))
    picture.paste(rows, (0, margin))
    picture.paste(columns.rotate(90, expand=True), (margin, 0))
    return np.asarray(picture)
