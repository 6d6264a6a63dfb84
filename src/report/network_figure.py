"""Figure 2: the network, drawn from what `network.describe` returns.

The length of a box shows the number of maps and its height their size. Both are square roots, so
that small boxes stay visible.
"""

import math
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from . import svg
from .network import Layer, Network, Shape

Point = tuple[float, float]

HEIGHT, LENGTH = 76.0, 50.0  # of the largest box
SLANT = (0.30, 0.22)  # shift of a box's back to the right and up, as shares of its height
CAPTION_WIDTH = 138.0  # of the captions beside the layers of a vertical drawing
LINE_HEIGHT, LAYER_PITCH = 15.5, 124.0
TOWER_PITCH, VERTICAL_TOWER_PITCH = 126.0, 112.0
FONT_SIZE = 12.0
TEXT_BOX = {"facecolor": svg.BACKGROUND, "edgecolor": "none", "pad": 0.8}  # hides lines behind text


class _Box:
    """A cuboid seen from the front, the right and above; (x, y) is the middle of its front."""

    def __init__(self, x: float, y: float, length: float, height: float):
        self.x, self.y = x, y
        self.left, self.right = x - length / 2, x + length / 2
        self.bottom, self.top = y - height / 2, y + height / 2
        self.dx, self.dy = height * SLANT[0], height * SLANT[1]  # from the front to the back

    def draw(self, axes: Axes, color: str, label: Shape) -> None:
        left, right, low, high = self.left, self.right, self.bottom, self.top
        back_right, back_low, back_high = right + self.dx, low + self.dy, high + self.dy
        front = [(left, low), (right, low), (right, high), (left, high)]
        top = [(left, high), (right, high), (back_right, back_high), (left + self.dx, back_high)]
        side = [(right, low), (right, high), (back_right, back_high), (back_right, back_low)]
        for face, alpha in ((front, 0.3), (top, 0.15), (side, 0.45)):
            axes.add_patch(Polygon(face, facecolor=svg.BACKGROUND, zorder=2))
            fill = (color, alpha)
            axes.add_patch(Polygon(face, facecolor=fill, edgecolor=color, lw=0.9, zorder=2))
        style: dict[str, Any] = {"ha": "center", "size": FONT_SIZE, "zorder": 5, "bbox": TEXT_BOX}
        axes.text(self.x + self.dx / 2, low - 14, _format_shape(label), **style)

    def draw_window(self, axes: Axes, share: float) -> list[Point]:
        """Draws a kernel's window on the right side; returns the two corners of its far edge."""
        x, y = self.right + self.dx / 2, self.y + self.dy / 2
        up, dx, dy = (share * part / 2 for part in (self.top - self.bottom, self.dx, self.dy))
        near = [(x - dx, y - dy + up), (x - dx, y - dy - up)]
        far = [(x + dx, y + dy - up), (x + dx, y + dy + up)]
        fill = (svg.BACKGROUND, 0.7)
        axes.add_patch(Polygon(near + far, facecolor=fill, edgecolor=svg.TEXT, lw=0.8, zorder=3))
        return far


class _Layout:
    """The positions of all boxes and captions.

    Layers go from left to right and towers from top to bottom, or the other way round if vertical.
    """

    def __init__(self, network: Network, vertical: bool):
        count, towers = len(network.layers), network.towers
        self.vertical, self._towers = vertical, towers
        captions = max(len(_caption(layer)) for layer in network.layers) * LINE_HEIGHT + 12
        self._pitch = max(LAYER_PITCH, captions) if vertical else LAYER_PITCH
        if vertical:
            self.width = max(360.0, CAPTION_WIDTH + VERTICAL_TOWER_PITCH * towers)
            self.height = self._pitch * (count + 1)
            self._middle = (CAPTION_WIDTH + self.width) / 2
        else:
            self.width = self._pitch * (count + 1) - 6
            self.height = TOWER_PITCH * towers + captions + 8
            self._middle = self.height - 8 - TOWER_PITCH / 2 * towers
            self.captions_top = self.height - 16 - TOWER_PITCH * towers
        self._image_size = network.image[0]
        self._most_maps = max(layer.preactivation[-1] for layer in network.layers if layer.size)

    def position(self, layer: int, tower: float) -> Point:
        offset = tower - (self._towers - 1) / 2
        if self.vertical:
            x = self._middle - 8 + VERTICAL_TOWER_PITCH * offset
            return x, self.height - 60 - self._pitch * layer
        return 54.0 + self._pitch * layer, self._middle - TOWER_PITCH * offset

    def box(self, layer: int, tower: float, shape: Shape) -> _Box:
        x, y = self.position(layer, tower)
        if len(shape) == 1:
            return _Box(x, y, 66, 9) if self.vertical else _Box(x, y, 9, HEIGHT * 0.9)
        length = LENGTH * math.sqrt(min(1, shape[-1] / self._most_maps))
        return _Box(x, y, max(length, 4), max(HEIGHT * math.sqrt(shape[0] / self._image_size), 8))


def draw(network: Network, *, vertical: bool) -> Markup:
    """The network as SVG: horizontal for a screen, or vertical for a phone."""
    layout = _Layout(network, vertical)
    figure = svg.figure(layout.width, layout.height, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, layout.width), ylim=(0, layout.height))
    axes.axis("off")
    towers = range(network.towers)

    image = layout.box(0, (network.towers - 1) / 2, network.image)
    image.draw(axes, svg.MUTED, network.image)
    sources = [image] * network.towers
    for number, layer in enumerate(network.layers, start=1):
        boxes = [layout.box(number, tower, layer.preactivation) for tower in towers]
        for tower, box in enumerate(boxes):
            for other, source in enumerate(sources):
                if other == tower or layer.received:
                    _connect(axes, layout, layer, source, box, crosses=other != tower)
        for tower, box in enumerate(boxes):
            box.draw(axes, svg.series(tower), layer.preactivation)
        sources = boxes
        _draw_caption(axes, layout, number, layer)
    for tower in towers if network.towers > 1 else ():
        x, y = layout.position(1, tower)
        style: dict[str, Any] = {"color": svg.series(tower), "weight": "bold", "ha": "center"}
        axes.text(x, y + 47, f"tower {tower + 1}", bbox=TEXT_BOX, zorder=5, **style)
    description = f"{len(network.layers)} layers in {network.towers} towers"
    return svg.inline(figure, description, max_width=1.3 * layout.width)


def _connect(
    axes: Axes, layout: _Layout, layer: Layer, source: _Box, box: _Box, *, crosses: bool
) -> None:
    """Draws lines from a box, or from a kernel's window on it, to a box of the next layer."""
    if layout.vertical:
        starts, end = [(source.x, source.bottom)], (box.x + box.dx / 2, box.top + box.dy / 2)
    else:
        starts, end = [(source.right + source.dx, source.y + source.dy / 2)], (box.left, box.y)
        if layer.size:
            starts = source.draw_window(axes, max(0.12, min(1, layer.size / layer.input[0])))
    color, width = (svg.ACCENT, 1.3) if crosses else (svg.MUTED, 0.8)
    for start in starts:
        axes.plot(*zip(start, end, strict=True), color=color, lw=width, zorder=1 + 3 * crosses)


def _format_shape(shape: Shape) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def _caption(layer: Layer) -> list[tuple[str, str]]:
    """The lines of a layer's caption, each with its color."""
    lines = [(layer.name, svg.TEXT), (f"{layer.parameters:,}", svg.TEXT), ("parameters", svg.TEXT)]
    if layer.received:
        lines += [("input: all towers", svg.ACCENT), (f"{layer.received:,} cross", svg.ACCENT)]
    for operation in layer.operations:
        lines.append((operation, svg.MUTED))
        if operation == "normalize" and layer.normalized:
            lines.append((f"{layer.normalized:,} cross", svg.ACCENT))
    if layer.output != layer.preactivation:
        lines.append((f"→ {_format_shape(layer.output)}", svg.MUTED))
    return lines


def _draw_caption(axes: Axes, layout: _Layout, number: int, layer: Layer) -> None:
    lines = _caption(layer)
    x, y = layout.position(number, 0)
    if layout.vertical:
        x, y, align = 4, y + LINE_HEIGHT * (len(lines) - 1) / 2 - 3, "left"
    else:
        x, y, align = x + 6, layout.captions_top, "center"
    for index, (text, color) in enumerate(lines):
        size, weight = (FONT_SIZE, "normal") if index else (13.5, "bold")
        style: dict[str, Any] = {"ha": align, "size": size, "weight": weight}
        axes.text(x, y - LINE_HEIGHT * index, text, color=color, **style)
